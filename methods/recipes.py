"""Recipes: what a method is trained with on one data set. The published settings are in `published.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """The network and the hyper-parameters of a method on one data set, where they differ from the defaults.

    `pretrained`: the weights that its networks start from (`model.pretrained`). `by_percent`: the hyper-parameters that
    depend on the percentage of bias-conflicting training images; a percentage in between takes the nearest one's.
    """

    source: str
    model: str
    model_hparams: Mapping[str, Any] = field(default_factory=dict)
    hparams: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str = "none"
    by_percent: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)

    def with_hparams(self, **hparams: Any) -> "Recipe":
        """The same but for these hyper-parameters."""
        return replace(self, hparams={**self.hparams, **hparams})

    def hparams_at(self, percent: float | None) -> dict[str, Any]:
        """The hyper-parameters for so many percent of bias-conflicting training images; None: not known."""
        if percent is None or not self.by_percent:
            return dict(self.hparams)
        nearest = min(self.by_percent, key=lambda published: abs(published - percent))
        return {**self.hparams, **self.by_percent[nearest]}


Recipes = Mapping[str, Mapping[str, Recipe]]  # data set -> name of the recipe -> recipe; the first is the default


def named(name: str, recipes: Mapping[str, Recipe], **hparams: Any) -> Recipes:
    """`recipes`, by data set, under one name and with further hyper-parameters."""
    return {dataset: {name: recipe.with_hparams(**hparams)} for dataset, recipe in recipes.items()}


def merged(*tables: Recipes) -> dict[str, dict[str, Recipe]]:
    """The recipes of all `tables`; for one data set in the order of the tables."""
    result: dict[str, dict[str, Recipe]] = {}
    for table in tables:
        for dataset, recipes in table.items():
            result.setdefault(dataset, {}).update(recipes)
    return result


def unpublished(recipes: Mapping[str, Recipe], settings: str) -> dict[str, Recipe]:
    """`recipes`, by data set, for a method that was not published on them; `settings` says whose they are."""
    return {dataset: replace(recipe, source=f"none published: {settings}") for dataset, recipe in recipes.items()}


def stand_ins(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """`recipes`, by the kind of images, for all data that a method was not published on."""
    return {kind: replace(recipe, source=f"none published: as {recipe.source}") for kind, recipe in recipes.items()}


def steps(count: int) -> dict[str, int | None]:
    """A length of training in optimiser steps."""
    return {"num_steps": count, "epochs": None}
