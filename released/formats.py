"""The file formats of the authors' code: which networks a file contains and which methods they can belong to."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.released.networks import HEADS, MLP, RESNET18, RESNET20, SIMPLE_CONV, Kind, Tensors, kind_of


class Part(NamedTuple):
    """One network of a method: our names for its encoder and head (None: no head), and its role in our architecture."""

    encoder: str
    head: str | None
    role: str = ""


@dataclass(frozen=True)
class Format:
    """The networks of one method, as its authors save them.

    `branches` maps each branch that can be evaluated, the prediction first, to the `parts` it needs. `settings` are
    those settings of the method and model that affect predictions but cannot be inferred from the tensors.
    """

    method: str
    source: str  # shown to users
    parts: Mapping[str, Part]
    branches: Mapping[str, tuple[str, ...]]
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Piece:
    """A network in a file: `part` of one of `formats`, which are ordered by likelihood."""

    path: Path
    part: str
    formats: tuple[Format, ...]
    kind: Kind
    tensors: Tensors


# ---- the methods

DENETDM_1 = Format(
    "denetdm",
    "DeNetDM's first stage",
    {"shallow": Part("shallow", "head", "shallow"), "deep": Part("deep", None, "deep")},
    {"shallow": ("shallow",), "deep": ("shallow", "deep"), "product": ("shallow", "deep")},
    (("method.hparams.hand_over", None),),  # no second stage
)
DENETDM_2 = Format(
    "denetdm",
    "DeNetDM's second stage",
    {"target": Part("target", "target_head", "target"), "target_deep": Part("target_deep", None, "deep")},
    {"target": ("target",), "deep": ("target", "target_deep"), "product": ("target", "target_deep")},
)


def of_two(method: str, source: str, place: str, debiased: str, biased: str, joint: bool = False) -> Format:
    """Make the format of two networks with a head each; `joint`: each head reads the features of both.

    `place` is "ENCODER HEAD" in our names, with * for `debiased` or `biased`.
    """
    parts = {name: Part(*place.replace("*", own).split()) for name, own in (("debiased", debiased), ("biased", biased))}
    return Format(method, source, parts, {name: tuple(parts) if joint else (name,) for name in parts})


ALONE, IN_BE = "*.encoder *.head", "inner.*.encoder inner.*.head"
LFF = of_two("lff", "LfF", ALONE, "debiased", "biased")
LFF_BE = of_two("lff_be", "BiasEnsemble with LfF", IN_BE, "debiased", "biased")
DISENT = of_two("disent", "DisEnt", "*_encoder *_head", "intrinsic", "bias", joint=True)
DISENT_BE = of_two(
    "disent_be", "BiasEnsemble with DisEnt", "inner.*_encoder inner.*_head", "intrinsic", "bias", joint=True
)
ERM = Format(
    "erm",
    "the baseline of LfF or DisEnt",
    {"debiased": Part("classifier.encoder", "classifier.head")},
    {"classifier": ("debiased",)},
)
REBIAS, VANILLA, RUBI, LEARNED_MIXIN = (
    Format(
        method,
        source,
        {"target": Part("f.encoder", "f.head", "f"), "biased": Part("g.encoder", "g.head", "g")},
        {"target": ("target",), "biased": ("biased",)},
    )
    for method, source in (
        ("rebias", "ReBias"),
        ("vanilla_biased", "the baselines of ReBias"),
        ("rubi", "RUBi in ReBias's code"),
        ("learned_mixin", "LearnedMixin in ReBias's code"),
    )
)
END = Format(
    "end",
    "EnD",
    {"classifier": Part("encoder", "head", "f")},
    {"classifier": ("classifier",)},
    (("model.hparams.last_activation", "tanh"),),
)

# ---- the files


def read_denetdm(path: Path, content: Any) -> list[Piece]:
    """Read a state dict of two branches and a common head."""
    tensors = tensors_in(content)
    debias, bias = below("debias_branch.", tensors), below("bias_branch.", tensors)
    if not (debias and bias):
        return []
    apart = ("debias_branch.", "bias_branch.", "debias_backbone.")  # the last duplicates the first
    debias |= {name: tensor for name, tensor in tensors.items() if not name.startswith(apart)}
    form = DENETDM_1 if "c1.weight" in debias else DENETDM_2
    return [piece(path, part, (form,), found) for part, found in zip(form.parts, (debias, bias), strict=True)]


def read_rebias(path: Path, content: Any) -> list[Piece]:
    """Read {"f_net": state dict, "g_nets": [state dict], "options": settings, ...}."""
    if not isinstance(content, Mapping) or "f_net" not in content:
        return []
    biased = content.get("g_nets", [])
    if not isinstance(biased, list) or len(biased) > 1:
        raise UserError(f"{path} has {len(biased)} biased networks (n_g_nets); only files with one can be read")
    formats: tuple[Format, ...] = (REBIAS, VANILLA, RUBI, LEARNED_MIXIN)
    if isinstance(options := content.get("options"), Mapping):
        trained_apart = (options.get("f_lambda_outer"), options.get("g_lambda_inner")) == (0, 0)
        usual = VANILLA if trained_apart else REBIAS
        formats = ({"RUBi": RUBI, "LearnedMixin": LEARNED_MIXIN}.get(str(options.get("outer_criterion")), usual),)
    networks = zip(REBIAS.parts, [content["f_net"], *biased], strict=False)
    return [piece(path, part, formats, tensors_in(found)) for part, found in networks]


def read_end(path: Path, content: Any) -> list[Piece]:
    """Read {"model": state dict, ...}."""
    tensors = tensors_in(content.get("model")) if isinstance(content, Mapping) else {}
    return [piece(path, "classifier", (END,), tensors)] if kind_of(tensors) is SIMPLE_CONV else []


def read_lff(path: Path, content: Any) -> list[Piece]:
    """Read {"state_dict": state dict, ...} of one network; only the file name tells which of a method's two it is."""
    tensors = tensors_in(content.get("state_dict", content) if isinstance(content, Mapping) else content)
    kind = kind_of(tensors)
    if kind not in (MLP, RESNET20, RESNET18):
        return []
    ends = re.findall(r"(?:^|_)([bdl])(?=_|$)", path.stem)  # best_model_l, model_b_1000
    end = ends[-1] if ends else ""
    projector = below("proj.", tensors)  # of BiasEnsemble's MLP; not used for prediction
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("proj.")}
    inputs = next((tensors[name].shape[-1] for head in HEADS if (name := f"{head}.weight") in tensors), 0)
    outputs = {tensor.shape[:1] for tensor in tensors.values()}
    formats: tuple[Format, ...]
    if inputs and (inputs,) not in outputs:  # the features of two networks
        formats = {"l": (DISENT,), "d": (DISENT_BE,)}.get(end, (DISENT, DISENT_BE))
    elif kind is MLP:
        formats = (LFF_BE,) if projector else (ERM,) if inputs == 16 else (LFF, ERM)
    else:
        formats = (LFF, ERM)
        if kind is RESNET18:  # only BiasEnsemble adds an ending to the file name
            formats = (LFF_BE, *formats) if end else (*formats, LFF_BE)
    part = "biased" if end == "b" and any("biased" in form.parts for form in formats) else "debiased"
    return [piece(path, part, tuple(form for form in formats if part in form.parts), tensors)]


READERS: tuple[Callable[[Path, Any], list[Piece]], ...] = (read_denetdm, read_rebias, read_end, read_lff)


def piece(path: Path, part: str, formats: tuple[Format, ...], tensors: Tensors) -> Piece:
    """Make a piece of `tensors`. Raises `UserError` for an unknown network, or for tensors that cannot be weights."""
    for name, tensor in tensors.items():
        is_weight = tensor.layout == torch.strided and (tensor.is_floating_point() or tensor.dtype == torch.int64)
        if not is_weight or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(f"{path}: {name} is not a plain tensor of numbers; download the file again")
    kind = kind_of(tensors)
    if kind is None:
        first = next((f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items()), "nothing")
        raise UserError(
            f"{path}: the {part} network of {formats[0].source} has an unknown architecture: it begins with {first};"
            " evaluate it with its authors' code"
        )
    return Piece(path, part, formats, kind, tensors)


def tensors_in(content: Any) -> dict[str, Tensor]:
    """Return the state dict `content` without nn.DataParallel's "module." prefix; empty if it is not a state dict."""
    if not isinstance(content, Mapping):
        return {}
    state = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if len(state) < len(content):
        return {}
    return below("module.", state) if all(name.startswith("module.") for name in state) else state


def below(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    """Select the tensors whose names start with `prefix`, and remove it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
