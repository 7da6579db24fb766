"""Methods, by name. Torch only, but for `ingredient.py`."""

from core.errors import require_known
from methods.base import Batch, Method, MethodConfig, Phase, Task, recipe_for
from methods.bias_ensemble import DisEntBE, LfFBE
from methods.denetdm import DeNetDM
from methods.disent import DisEnt
from methods.end import EnD
from methods.erm import ERM
from methods.learned_mixin import LearnedMixin
from methods.lff import LfF
from methods.rebias import ReBias
from methods.recipes import Recipe
from methods.rubi import RUBi
from methods.vanilla_biased import VanillaBiased

__all__ = ["METHODS", "Batch", "Method", "MethodConfig", "Phase", "Recipe", "Task", "method_class", "recipe_for"]

METHODS: dict[str, type[Method]] = {
    "denetdm": DeNetDM,
    "disent": DisEnt,
    "disent_be": DisEntBE,
    "end": EnD,
    "erm": ERM,
    "learned_mixin": LearnedMixin,
    "lff": LfF,
    "lff_be": LfFBE,
    "rebias": ReBias,
    "rubi": RUBi,
    "vanilla_biased": VanillaBiased,
}


def method_class(name: str) -> type[Method]:
    """The method `name`; raises `UserError` for an unknown one."""
    require_known("method", name, METHODS)
    return METHODS[name]
