"""The hyper-parameters of a run before the user changes any: defaults, recipe, protocol."""

from collections.abc import Mapping
from typing import Any

from core.errors import UserError
from core.settings import default_settings
from datasets import DATASETS
from methods import Recipe, method_class, recipe_for
from training.selection import without_bias

NO_RECIPE = Recipe(source="none", model="mlp")  # holds the place of one that is missing, for `inspect`


def default_recipe(method: str, dataset: str) -> str | None:
    """Name of the first recipe of `method` on `dataset`; None if there is none, and then nothing can be trained."""
    return next(iter(method_class(method).RECIPES.get(dataset, {})), None)


def chosen_recipe(method: str, dataset: str, recipe: str | None) -> Recipe:
    """The recipe of that name; `NO_RECIPE` for None."""
    return NO_RECIPE if recipe is None else recipe_for(method_class(method), dataset, recipe)[1]


def default_hparams(
    method: str, dataset: str, recipe: str | None, protocol: str, knows_bias: bool = True
) -> dict[str, Any]:
    """All hyper-parameters of `method` as plain values. Under protocol "published", the authors' selection rules.

    Rules go by the accuracy over all images unless the data set `knows_bias`.
    """
    cls = method_class(method)
    hparams = default_settings(cls.Config) | dict(chosen_recipe(method, dataset, recipe).hparams)
    hparams |= dict(cls.PUBLISHED) if protocol == "published" else {}
    if knows_bias:
        return hparams
    return {name: without_bias(value) if isinstance(value, str) else value for name, value in hparams.items()}


def fitted_hparams(method: str, dataset: str, recipe: str | None, protocol: str, hparams: Any) -> Any:
    """The user's `hparams` with one budget, and with the recipe's other lengths fit to it. Raises `UserError`."""
    defaults = default_hparams(method, dataset, recipe, protocol)
    settled = settled_budget(defaults, hparams)
    return shortened_lengths(defaults, shortened_steps(method, dataset, defaults, settled))


def settled_budget(defaults: Mapping[str, Any], hparams: Any) -> Any:
    """`hparams` with only one of `epochs` and `num_steps` set.

    Where both are, the one that differs from `defaults` is the user's and wins; `UserError` if both do. What is no
    mapping at all is returned as it is, to be refused with all other mistakes.
    """
    if not isinstance(hparams, Mapping) or hparams["epochs"] is None or hparams["num_steps"] is None:
        return hparams
    own = {name: hparams[name] for name in ("epochs", "num_steps") if hparams[name] != defaults[name]}
    if len(own) != 1:
        raise UserError(f"epochs={hparams['epochs']} and num_steps={hparams['num_steps']}: give one of the two")
    return dict(hparams) | {"epochs": None, "num_steps": None} | own


def shortened_steps(method: str, dataset: str, defaults: Mapping[str, Any], hparams: Any) -> Any:
    """`hparams` with the settings that count steps (`MethodConfig.STEP_SETTINGS`) fit to the length of training.

    They shrink in proportion where training is shorter than that of `defaults`; what is not 0 stays above 0. A value
    that differs from `defaults` is the user's and stays, and so does what is no mapping at all.
    """
    longest = steps_of(defaults, dataset)
    wanted = steps_of(hparams, dataset) if isinstance(hparams, Mapping) else None
    if longest is None or wanted is None or wanted >= longest:
        return hparams
    own = {name: defaults[name] for name in method_class(method).Config.STEP_SETTINGS if defaults[name]}
    scaled = {name: max(1, round(value * wanted / longest)) for name, value in own.items() if hparams[name] == value}
    return dict(hparams) | scaled


def steps_of(hparams: Mapping[str, Any], dataset: str) -> float | None:
    """How long a run is, in steps; None if that cannot be told (a value out of range is refused elsewhere)."""
    epochs, num_steps, batch_size = hparams["epochs"], hparams["num_steps"], hparams["batch_size"]
    if num_steps is not None:
        return num_steps if isinstance(num_steps, int) and num_steps > 0 else None
    images = DATASETS[dataset].NUM_TRAIN
    if images is None or not all(isinstance(value, int) and value > 0 for value in (epochs, batch_size)):
        return None
    return float(epochs * max(1, images / batch_size))


def shortened_lengths(defaults: Mapping[str, Any], hparams: Any) -> Any:
    """`hparams` with lengths of parts of the training, NAME_epochs or NAME_steps, that fit the length of the training.

    Epochs as in `defaults` shrink with `epochs`; where training is counted in steps, they become steps in proportion.
    A length that differs from `defaults` is the user's and stays, and so does what is no mapping at all.
    """
    if not isinstance(hparams, Mapping) or defaults["epochs"] is None:
        return hparams
    changed: dict[str, int | None] = {}
    for name in (name.removesuffix("_epochs") for name in hparams if name.endswith("_epochs")):
        epochs, steps = f"{name}_epochs", f"{name}_steps"
        if steps not in hparams or defaults[epochs] is None:
            continue
        if hparams[steps] is not None and hparams[epochs] == defaults[epochs]:
            changed |= {epochs: None}
        elif hparams[steps] is None and hparams[epochs] == defaults[epochs]:
            share = defaults[epochs] / defaults["epochs"]
            if isinstance(hparams["num_steps"], int):
                changed |= {epochs: None, steps: max(1, round(share * hparams["num_steps"]))}
            elif isinstance(hparams["epochs"], int) and hparams["epochs"] < defaults["epochs"]:
                changed |= {epochs: max(1, round(share * hparams["epochs"]))}
    return dict(hparams) | changed


def default_model(method: str, dataset: str, recipe: str | None) -> str:
    """Name of the architecture of the recipe."""
    return chosen_recipe(method, dataset, recipe).model


def recipe_model_hparams(method: str, dataset: str, recipe: str | None, model: str) -> dict[str, Any]:
    """The recipe's settings for `model`; none if the user chose another architecture than the recipe's."""
    chosen = chosen_recipe(method, dataset, recipe)
    return dict(chosen.model_hparams) if chosen.model == model else {}
