"""The hyper-parameters of a run before the user changes any: defaults, recipe, protocol."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from debiaslab.core.errors import UserError
from debiaslab.core.settings import default_settings
from debiaslab.datasets import DATASETS
from debiaslab.evaluation.selection import without_bias
from debiaslab.methods import Recipe, method_class, recipe_for

ONE_LENGTH = "give one of the two; NAME=None takes away what a named configuration has set"
LENGTHS = ("epochs", "num_steps")  # of a training, of which one is set
NO_RECIPE = Recipe(source="none", model="mlp")  # holds the place of one that is missing, for `inspect`


def default_recipe(method: str, dataset: str) -> str | None:
    """Name of the first recipe of `method` on `dataset`; None if there is none, and then nothing can be trained."""
    return next(iter(method_class(method).RECIPES.get(dataset, {})), None)


def chosen_recipe(method: str, dataset: str, recipe: str | None) -> Recipe:
    """The recipe of that name; `NO_RECIPE` for None."""
    return NO_RECIPE if recipe is None else recipe_for(method_class(method), dataset, recipe)[1]


def conflicting_percent(data: Mapping[str, Any]) -> float | None:
    """The percentage of bias-conflicting training images, by the settings of the data set; None if they do not tell."""
    for setting, percents in (("percent", 1), ("skew", 100)):
        value = data.get(setting)
        if isinstance(value, (int, float)):
            return float(value * percents)
    return None


def default_hparams(
    method: str,
    dataset: str,
    recipe: str | None,
    protocol: str,
    percent: float | None = None,
    knows_bias: bool = True,
    has_valid: bool = True,
) -> dict[str, Any]:
    """All hyper-parameters of `method` as plain values. Under protocol "published", the authors' selection rules.

    `percent` of the training images are bias-conflicting: some recipes depend on it. Unless the data set `knows_bias`,
    rules go by the accuracy over all images; unless it `has_valid`, by test images where a method cannot do without.
    """
    cls = method_class(method)
    rules = dict(cls.PUBLISHED) if protocol == "published" else {}
    rules |= {} if has_valid else cls.WITHOUT_VALID
    hparams = default_settings(cls.Config) | rules | chosen_recipe(method, dataset, recipe).hparams_at(percent)
    if knows_bias:
        return hparams
    return {name: without_bias(value) if isinstance(value, str) else value for name, value in hparams.items()}


def fitted_hparams(
    method: str, dataset: str, recipe: str | None, protocol: str, hparams: Any, percent: float | None = None
) -> Any:
    """The user's `hparams` with one budget, and with the recipe's other lengths fit to it. Raises `UserError`."""
    defaults = default_hparams(method, dataset, recipe, protocol, percent)
    return shortened_steps(method, dataset, defaults, settled_budget(defaults, hparams))


def hparams_of_length(
    method: str, data: Mapping[str, Any], recipe: str | None, hparams: Mapping[str, Any]
) -> dict[str, Any]:
    """The recipe's hyper-parameters, fit to the length of `hparams`: what a user has who sets that alone.

    But for selection rules, which depend on the protocol; here they are those of `holdout`.
    """
    defaults = default_hparams(method, data["name"], recipe, "holdout", conflicting_percent(data))
    length = {name: hparams[name] for name in (*LENGTHS, "batch_size") if name in hparams}
    fitted = shortened_steps(method, data["name"], defaults, defaults | length)
    return {**fitted, "batch_size": defaults["batch_size"]}


def settled_budget(defaults: Mapping[str, Any], hparams: Any) -> Any:
    """`hparams` with only one of `epochs` and `num_steps` set.

    Where both are, the one that differs from `defaults` is the user's and wins; `UserError` if both do. What is no
    mapping at all is returned as it is, to be refused with all other mistakes.
    """
    if not isinstance(hparams, Mapping) or hparams["epochs"] is None or hparams["num_steps"] is None:
        return hparams
    own = {name: hparams[name] for name in LENGTHS if hparams[name] != defaults[name]}
    if len(own) != 1:
        raise UserError(f"epochs={hparams['epochs']} and num_steps={hparams['num_steps']}: {ONE_LENGTH}")
    return dict(hparams) | dict.fromkeys(LENGTHS) | own


def shortened_steps(method: str, dataset: str, defaults: Mapping[str, Any], hparams: Any) -> Any:
    """`hparams` in which the parts of a shorter training keep the share of it that they have in `defaults`.

    A part is counted in steps (`MethodConfig.STEP_SETTINGS`), or as the training is, in epochs or in steps (a pair of
    settings NAME_epochs and NAME_steps). What is not 0 stays above 0. A part that differs from `defaults` is the user's
    and stays, and so does what is no mapping at all.
    """
    if not isinstance(hparams, Mapping):
        return hparams
    changed: dict[str, int | None] = {}
    steps, all_steps = steps_of(hparams, dataset), steps_of(defaults, dataset)
    if steps is not None and all_steps is not None and steps < all_steps:
        for name in method_class(method).Config.STEP_SETTINGS:
            if defaults[name] and hparams[name] == defaults[name]:
                changed[name] = share(defaults[name], all_steps, steps)
    for name in (setting.removesuffix("_epochs") for setting in defaults if setting.endswith("_epochs")):
        if f"{name}_steps" in defaults:
            changed |= fitted_part(name, defaults, hparams)
    return dict(hparams) | changed


def fitted_part(name: str, defaults: Mapping[str, Any], hparams: Mapping[str, Any]) -> dict[str, int | None]:
    """What changes of NAME_epochs and NAME_steps: the part is counted as the training is, and shrinks with it."""
    part = {"epochs": f"{name}_epochs", "num_steps": f"{name}_steps"}  # by the setting of the whole training's length
    own = {setting: hparams[setting] for setting in part.values() if hparams[setting] != defaults[setting]}
    if own:
        return dict.fromkeys(part.values()) | own
    for before, after in product(part, part):
        length, whole, new_whole = defaults[part[before]], defaults[before], hparams[after]
        known = length is not None and whole is not None and isinstance(new_whole, int)
        if known and (before != after or new_whole < whole):
            return {part[before]: None, part[after]: share(length, whole, new_whole)}
    return {}


def share(length: int, whole: float, new_whole: float) -> int:
    """As much of `new_whole` as `length` is of `whole`, but no less than 1."""
    return max(1, round(length * new_whole / whole))


def steps_of(hparams: Mapping[str, Any], dataset: str) -> float | None:
    """How long a run is, in steps; None if that cannot be told (a value out of range is refused elsewhere)."""
    epochs, num_steps, batch_size = hparams["epochs"], hparams["num_steps"], hparams["batch_size"]
    if num_steps is not None:
        return num_steps if isinstance(num_steps, int) and num_steps > 0 else None
    images = DATASETS[dataset].NUM_TRAIN if dataset in DATASETS else None
    if images is None or not all(isinstance(value, int) and value > 0 for value in (epochs, batch_size)):
        return None
    return float(epochs * max(1, images / batch_size))


def default_model(method: str, dataset: str, recipe: str | None) -> str:
    """Name of the architecture of the recipe."""
    return chosen_recipe(method, dataset, recipe).model


def recipe_model_hparams(method: str, dataset: str, recipe: str | None, model: str) -> dict[str, Any]:
    """The recipe's settings for `model`; none if the user chose another architecture than the recipe's."""
    chosen = chosen_recipe(method, dataset, recipe)
    return dict(chosen.model_hparams) if chosen.model == model else {}


def default_pretrained(method: str, dataset: str, recipe: str | None, model: str) -> str:
    """The weights that the recipe starts from; "none" if the user chose another architecture than the recipe's."""
    chosen = chosen_recipe(method, dataset, recipe)
    return chosen.pretrained if chosen.model == model else "none"
