"""Recipes: the settings a method is trained with on one data set. Published settings are in `published.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """The network and the hyper-parameters of a method on one data set, where they differ from the defaults.

    `pretrained`: the value of `model.pretrained`. `by_percent`: the hyper-parameters that depend on the percentage of
    bias-conflicting training images; for other percentages, those of the nearest one are used.
    """

    source: str
    model: str
    model_hparams: Mapping[str, Any] = field(default_factory=dict)
    hparams: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str = "none"
    by_percent: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)

    def with_hparams(self, **hparams: Any) -> "Recipe":
        """A copy with these hyper-parameters added or replaced."""
        return replace(self, hparams={**self.hparams, **hparams})

    def hparams_at(self, percent: float | None) -> dict[str, Any]:
        """The hyper-parameters for `percent` of bias-conflicting training images; None: unknown."""
        if percent is None or not self.by_percent:
            return dict(self.hparams)
        nearest = min(self.by_percent, key=lambda published: abs(published - percent))
        return {**self.hparams, **self.by_percent[nearest]}


Recipes = Mapping[str, Mapping[str, Recipe]]  # data set -> name of the recipe -> recipe; the first is the default


def name_recipes(name: str, recipes: Mapping[str, Recipe], **hparams: Any) -> Recipes:
    """Give each of `recipes`, keyed by data set, the name `name` and additional hyper-parameters."""
    return {dataset: {name: recipe.with_hparams(**hparams)} for dataset, recipe in recipes.items()}


def merge(*tables: Recipes) -> dict[str, dict[str, Recipe]]:
    """Merge tables of recipes; those of one data set keep the order of the tables."""
    result: dict[str, dict[str, Recipe]] = {}
    for table in tables:
        for dataset, recipes in table.items():
            result.setdefault(dataset, {}).update(recipes)
    return result


def mark_unpublished(recipes: Mapping[str, Recipe], settings: str) -> dict[str, Recipe]:
    """Mark `recipes`, keyed by data set, as not published for this method; `settings` names their origin."""
    return {dataset: replace(recipe, source=f"none published: {settings}") for dataset, recipe in recipes.items()}


def stand_ins(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Mark `recipes`, keyed by kind of image, as defaults for all data that the method has no recipe for."""
    return {kind: replace(recipe, source=f"none published: as {recipe.source}") for kind, recipe in recipes.items()}


def steps(count: int) -> dict[str, int | None]:
    """The settings for a training length in optimiser steps."""
    return {"num_steps": count, "epochs": None}
