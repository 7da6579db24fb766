"""The methods, by name. Needs torch only."""

from debiaslab.core.errors import require_known
from debiaslab.methods.balancing import ClassSubset, ClassWeights, GroupSubset, GroupWeights
from debiaslab.methods.base import Method, MethodConfig, SampleNotes, Task
from debiaslab.methods.bias_balance import BiasBalance
from debiaslab.methods.bias_ensemble import DisEntBE, LfFBE
from debiaslab.methods.denetdm import DeNetDM
from debiaslab.methods.disent import DisEnt
from debiaslab.methods.dpr import DPR
from debiaslab.methods.ecs_ga import ECSGA
from debiaslab.methods.end import EnD
from debiaslab.methods.erm import ERM
from debiaslab.methods.group_dro import GroupDRO
from debiaslab.methods.jtt import JTT
from debiaslab.methods.last_layer import AFR, DFR
from debiaslab.methods.lc import LC
from debiaslab.methods.learned_mixin import LearnedMixin
from debiaslab.methods.lff import LfF
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.rebias import ReBias
from debiaslab.methods.recipes import Recipe
from debiaslab.methods.rubi import RUBi
from debiaslab.methods.selecmix import LfFSelecMix, SelecMix
from debiaslab.methods.vanilla_biased import VanillaBiased
from debiaslab.methods.xrm import XRM

__all__ = [
    "METHODS",
    "Batch",
    "Method",
    "MethodConfig",
    "Phase",
    "Recipe",
    "SampleNotes",
    "Task",
    "method_class",
]

METHODS: dict[str, type[Method]] = {
    "afr": AFR,
    "bias_balance": BiasBalance,
    "denetdm": DeNetDM,
    "dfr": DFR,
    "disent": DisEnt,
    "disent_be": DisEntBE,
    "dpr": DPR,
    "ecs_ga": ECSGA,
    "end": EnD,
    "erm": ERM,
    "group_dro": GroupDRO,
    "jtt": JTT,
    "lc": LC,
    "learned_mixin": LearnedMixin,
    "lff": LfF,
    "lff_be": LfFBE,
    "lff_selecmix": LfFSelecMix,
    "rebias": ReBias,
    "rubi": RUBi,
    "rwg": GroupWeights,
    "rwy": ClassWeights,
    "selecmix": SelecMix,
    "subg": GroupSubset,
    "suby": ClassSubset,
    "vanilla_biased": VanillaBiased,
    "xrm": XRM,
}


def method_class(name: str) -> type[Method]:
    """Return the class of the method `name`; raises `UserError` for an unknown one."""
    require_known("method", name, METHODS)
    return METHODS[name]
