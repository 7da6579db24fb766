"""The hyper-parameters of a run before the user changes any: defaults, recipe, protocol."""

from collections.abc import Mapping
from typing import Any

from core.errors import UserError
from core.settings import default_settings
from datasets import DATASETS
from methods import method_class, recipe_for


def default_recipe(method: str, dataset: str) -> str:
    """Name of the first recipe of `method` on `dataset`."""
    return recipe_for(method_class(method), dataset, None)[0]


def default_hparams(method: str, dataset: str, recipe: str, protocol: str) -> dict[str, Any]:
    """All hyper-parameters of `method` as plain values. Under protocol "published", the authors' selection rules."""
    cls = method_class(method)
    hparams = default_settings(cls.Config) | dict(recipe_for(cls, dataset, recipe)[1].hparams)
    return hparams | (dict(cls.PUBLISHED) if protocol == "published" else {})


def settled_budget(defaults: Mapping[str, Any], hparams: Mapping[str, Any]) -> dict[str, int | None]:
    """`epochs` and `num_steps` of which only one counts.

    Where both are set, the one that differs from `defaults` is the user's and wins; `UserError` if both do.
    """
    epochs, num_steps = hparams["epochs"], hparams["num_steps"]
    if epochs is not None and num_steps is not None:
        own = {name: hparams[name] for name in ("epochs", "num_steps") if hparams[name] != defaults[name]}
        if len(own) != 1:
            raise UserError(f"epochs={epochs} and num_steps={num_steps}: give one of the two")
        return {"epochs": None, "num_steps": None} | own
    return {"epochs": epochs, "num_steps": num_steps}


def shortened_steps(
    method: str, dataset: str, defaults: Mapping[str, Any], hparams: Mapping[str, Any]
) -> dict[str, int]:
    """The settings that count steps (`MethodConfig.STEP_SETTINGS`), for a run of `hparams`.

    They shrink in proportion to the length of training if that is shorter than the length of `defaults`; what is not
    0 stays above 0.
    """
    longest, wanted = steps_of(defaults, dataset), steps_of(hparams, dataset)
    if longest is None or wanted is None or wanted >= longest:
        return {}
    names = method_class(method).Config.STEP_SETTINGS
    return {name: max(1, round(defaults[name] * wanted / longest)) for name in names if defaults[name]}


def steps_of(hparams: Mapping[str, Any], dataset: str) -> float | None:
    """How long a run is, in steps; None if that cannot be told (a value out of range is refused elsewhere)."""
    epochs, num_steps, batch_size = hparams["epochs"], hparams["num_steps"], hparams["batch_size"]
    if num_steps is not None:
        return num_steps if isinstance(num_steps, int) and num_steps > 0 else None
    images = DATASETS[dataset].NUM_TRAIN
    if images is None or not all(isinstance(value, int) and value > 0 for value in (epochs, batch_size)):
        return None
    return float(epochs * max(1, images / batch_size))


def default_model(method: str, dataset: str, recipe: str) -> str:
    """Name of the architecture of the recipe."""
    return recipe_for(method_class(method), dataset, recipe)[1].model


def recipe_model_hparams(method: str, dataset: str, recipe: str, model: str) -> dict[str, Any]:
    """The recipe's settings for `model`; none if the user chose another architecture than the recipe's."""
    chosen = recipe_for(method_class(method), dataset, recipe)[1]
    return dict(chosen.model_hparams) if chosen.model == model else {}
