"""The hyper-parameters of a run before the user changes any: defaults, recipe, protocol."""

from collections.abc import Mapping
from typing import Any

from core.errors import UserError
from core.settings import default_settings
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


def default_model(method: str, dataset: str, recipe: str) -> str:
    """Name of the architecture of the recipe."""
    return recipe_for(method_class(method), dataset, recipe)[1].model


def recipe_model_hparams(method: str, dataset: str, recipe: str, model: str) -> dict[str, Any]:
    """The recipe's settings for `model`; none if the user chose another architecture than the recipe's."""
    chosen = recipe_for(method_class(method), dataset, recipe)[1]
    return dict(chosen.model_hparams) if chosen.model == model else {}
