"""Resolve recipes: the settings a method is trained with on one data set, before the user changes any."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from debiaslab.core.errors import UserError, require_known
from debiaslab.core.settings import declared, default_settings
from debiaslab.datasets import DATASETS, SelectionImages, selection_images_from_settings
from debiaslab.evaluation.selection import default_rule, without_bias
from debiaslab.methods import Method, Recipe, method_class
from debiaslab.settings.declared import conflicting_percent
from debiaslab.settings.run import AUTO

UNPUBLISHED = "none published"  # the source of unpublished recipes starts with this
OURS = "debiaslab"  # name of unpublished recipes
LENGTHS = ("epochs", "num_steps")  # the settings of the training length; exactly one is set
UNITS = {"epochs": "epochs", "steps": "num_steps"}  # unit of a part of training -> setting of the whole in that unit
ONE_LENGTH = "give one of the two; NAME=None removes the value of a named configuration"
NO_RECIPE = Recipe(source="none: the method has no network for such data", model="mlp")
BRANCHES = ("conv_branches", "mlp_branches")  # the networks of DeNetDM
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class ResolvedRecipe:
    """The recipe `name` of a method on a data set, and all of the method's hyper-parameters with it (`defaults`).

    `name` is None if the method cannot be trained on the data set; then `recipe` is a placeholder.
    """

    method: type[Method]
    dataset: str
    name: str | None
    recipe: Recipe
    defaults: Mapping[str, Any]

    def hparams(self, own: Any = NOTHING) -> Any:
        """All hyper-parameters with the user's `own`, and with the parts of training scaled to its length.

        Raises `UserError` for two lengths. If `own` is not a mapping it is returned as it is, for `check` to reject.
        """
        if not isinstance(own, Mapping):
            return own
        length = own_length(own)
        whole = {**self.defaults, **length}
        whole["batch_size"] = own.get("batch_size", whole["batch_size"])
        fitted = dict(self.defaults)
        for part in parts_of_training(self.method):
            fitted |= self._fitted(part, whole)
            if any(own.get(name) is not None for name in part.values()):
                fitted |= dict.fromkeys(part.values())
        return fitted | dict(own) | length

    def of_length(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The hyper-parameters if the user had set only the training length, to that of `own`."""
        length = {name: own[name] for name in (*LENGTHS, "batch_size") if name in own}
        fitted: dict[str, Any] = self.hparams(length)
        return {**fitted, "batch_size": self.defaults["batch_size"]}

    def model_hparams(self, model: str) -> dict[str, Any]:
        """The recipe's hyper-parameters of `model`; none if the user chose another architecture than the recipe's."""
        return dict(self.recipe.model_hparams) if self.recipe.model == model else {}

    def pretrained(self, model: str) -> str:
        """The recipe's `model.pretrained`; "none" if the user chose another architecture than the recipe's."""
        return self.recipe.pretrained if self.recipe.model == model else "none"

    def _fitted(self, part: Mapping[str, str], whole: Mapping[str, Any]) -> dict[str, int | None]:
        """Scale a part of training to the length `whole`: the same fraction as in the recipe, but no longer than there.

        `part` maps the settings of the whole length to those of the part in the same unit. A part that can be given in
        either unit uses the unit of the training; one that is 0 or None stays as it is.
        """
        recipe = self.defaults
        unit = next((unit for unit in part if recipe[part[unit]]), None)
        if unit is None:
            return {}
        new_unit = next((unit for unit in part if whole[unit] is not None), unit)
        if len(part) == 1:  # in steps, whatever the unit of the training
            old_length, new_length = (steps_of(hparams, self.dataset) for hparams in (recipe, whole))
        else:
            old_length, new_length = recipe[unit], whole[new_unit]
        if not (is_length(old_length) and is_length(new_length)):
            return {}
        if unit == new_unit and new_length >= old_length:
            return {}
        share = max(1, round(recipe[part[unit]] * new_length / old_length))
        return dict.fromkeys(part.values()) | {part[new_unit]: share}


def resolve(
    method: str, data: Mapping[str, Any], name: str | None = None, images: SelectionImages | None = None
) -> ResolvedRecipe:
    """Resolve the recipe `name` (None: the default) of `method` on data with the settings `data`, not yet checked.

    `images` describes the images that checkpoints are selected on. None: as far as the settings determine it; rules
    that depend on more than that are "auto". Raises `UserError` for an unknown method, data set or recipe.
    """
    cls = method_class(method)
    require_known("data set", data["name"], DATASETS)
    recipes = recipes_of(cls, data["name"])
    name = name or next(iter(recipes), None)
    if name is not None:
        require_known(f"recipe of {cls.__name__} on {data['name']}", name, recipes)
    recipe = NO_RECIPE if name is None else recipes[name]
    recipe = recipe if data.get("features") is None else for_features(recipe)
    images = images or selection_images_from_settings(data)
    hparams = default_settings(cls.Config)
    hparams |= dict(cls.PUBLISHED) if data.get("protocol") == "published" else {}
    hparams |= {
        name: rule if images.has_valid is False else AUTO
        for name, rule in cls.WITHOUT_VALID.items()
        if not images.has_valid
    }
    hparams |= recipe.hparams_at(conflicting_percent(data))
    hparams = {name: rule_for(value, images) if isinstance(value, str) else value for name, value in hparams.items()}
    return ResolvedRecipe(cls, data["name"], name, recipe, hparams)


def for_features(recipe: Recipe) -> Recipe:
    """`recipe` for data that are features: with MLPs in place of networks for images."""
    model = "mlp_branches" if recipe.model in BRANCHES else "mlp"
    source = f"{recipe.source}, with MLPs on features"
    return replace(recipe, source=source, model=model, model_hparams={}, pretrained="none")


def recipes_of(method: type[Method], dataset: str) -> Mapping[str, Recipe]:
    """The recipes of a method on a data set, by name, the default first.

    If there are none, our recipe for that kind of image; empty if the method cannot be trained on them.
    """
    if dataset in method.RECIPES:
        return method.RECIPES[dataset]
    kind = DATASETS[dataset].KIND
    return {OURS: method.UNPUBLISHED[kind]} if kind in method.UNPUBLISHED else {}


def require_recipe(method: str, dataset: str) -> None:
    """Raise `UserError` if the method cannot be trained on the data set."""
    if not recipes_of(method_class(method), dataset):
        raise UserError(f"{method} cannot be trained on {dataset}: it has no networks for {DATASETS[dataset].KIND}")


def default_selection(data: Mapping[str, Any], images: SelectionImages | None = None) -> str:
    """The default checkpoint selection rule; "auto" if it depends on data that have not been read yet."""
    return rule_for(default_rule(str(data.get("protocol")), True), images or selection_images_from_settings(data))


def rule_for(value: str, images: SelectionImages) -> str:
    """`value`, or its counterpart without bias labels if it needs labels that the images do not have.

    "auto" if it is not known whether they have them.
    """
    if images.knows_bias or value == without_bias(value):
        return value
    return AUTO if images.knows_bias is None else without_bias(value)


# ---- lengths


def own_length(own: Mapping[str, Any]) -> dict[str, Any]:
    """The training length among the user's hyper-parameters, with the other unit set to None.

    Raises `UserError` for two lengths.
    """
    given = {name: own[name] for name in LENGTHS if own.get(name) is not None}
    if len(given) > 1:
        raise UserError(f"epochs={given['epochs']} and num_steps={given['num_steps']}: {ONE_LENGTH}")
    return dict.fromkeys(LENGTHS) | given if given else {}


def parts_of_training(method: type[Method]) -> list[dict[str, str]]:
    """The parts of training whose lengths are settings, each as unit ("epochs", "num_steps") -> setting."""
    parts: dict[str, dict[str, str]] = {}
    for name, known in declared(method.Config).items():
        if known.part is not None:
            parts.setdefault(re.sub("_(epochs|steps)$", "", name), {})[UNITS[known.part]] = name
    return list(parts.values())


def is_length(value: Any) -> TypeGuard[float]:
    """Whether `value` is a valid training length; invalid ones are rejected elsewhere."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def steps_of(hparams: Mapping[str, Any], dataset: str) -> float | None:
    """The training length in steps; None if it is unknown."""
    epochs, num_steps, batch_size = hparams["epochs"], hparams["num_steps"], hparams["batch_size"]
    if num_steps is not None:
        return num_steps if isinstance(num_steps, int) else None
    images = DATASETS[dataset].NUM_TRAIN
    if images is None or not all(isinstance(value, int) and value > 0 for value in (epochs, batch_size)):
        return None
    return float(epochs * max(1, images / batch_size))
