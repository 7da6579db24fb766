"""The networks of the authors' code: our names for their modules, and the settings that give ours the same sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Tensors = Mapping[str, Tensor]

HEADS = ("classifier", "fc", "linear", "head.projection")  # names of the last layer
DENETDM_ROLES = ("shallow", "deep", "target")


@dataclass(frozen=True)
class Kind:
    """One network of the authors' code.

    `model` is our name for it. It is recognised by its first weight, which has one of the names `stems` and the shape
    `shape` (None: any size). `modules` maps their modules, except the head, to those of our encoder. `sizes` returns
    the settings of our architecture, given the tensors and the network's role.
    """

    model: str
    stems: tuple[str, ...]
    shape: tuple[int | None, ...]
    modules: Mapping[str, str]
    sizes: Callable[[Tensors, str], dict[str, Any]]

    def matches(self, tensors: Tensors) -> bool:
        """Whether `tensors` are those of a network of this kind."""
        stem = next((tensors[name].shape for name in self.stems if name in tensors), ())
        return len(stem) == len(self.shape) and all(a in (None, b) for a, b in zip(self.shape, stem, strict=True))

    def rename(self, name: str, encoder: str, head: str | None) -> str | None:
        """Return our name for their tensor `name`, where our parts are called `encoder` and `head`; None if unknown."""
        modules = {theirs: f"{encoder}.{ours}" for theirs, ours in self.modules.items()}
        modules |= dict.fromkeys(HEADS, head) if head is not None else {}
        parts = name.split(".")
        for length in range(len(parts) - 1, 0, -1):
            if (module := modules.get(".".join(parts[:length]))) is not None:
                return ".".join([module, *parts[length:]])
        return None


# ---- tables of modules, and sizes


def pairs(text: str) -> dict[str, str]:
    """Parse a text such as "theirs ours, theirs ours"."""
    return dict(pair.split() for pair in text.split(", "))


def layers(theirs: str, step: int, first: int) -> dict[str, str]:
    """Map consecutive layers: `theirs` with the numbers 0, `step`, 2 x `step`, ... to ours, counted from `first`."""
    return {theirs.format(step * number): f"layers.{first + number}" for number in range(20)}


def blocks(theirs: str, stages: range, per_stage: int, first: int, inner: Mapping[str, str]) -> dict[str, str]:
    """Map residual blocks: `theirs` with the stage and block to ours, counted from `first`; `inner` maps their
    modules."""
    numbers = [(stage, block) for stage in stages for block in range(per_stage)]
    return {
        theirs.format(*number) + module: f"body.{first + position}{own}"
        for position, number in enumerate(numbers)
        for module, own in inner.items()
    }


def widths(tensors: Tensors, layer: str, step: int) -> list[int]:
    """Return the number of outputs of each of the consecutive layers `layer`."""
    names = [f"{layer.format(step * number)}.weight" for number in range(20)]
    return [size for name in names if name in tensors for size in tensors[name].shape[:1]]


def mlp_sizes(tensors: Tensors, role: str) -> dict[str, Any]:
    """Return the sizes of LfF's MLP; its code divides images in [0, 1] by 255."""
    return {"widths": widths(tensors, "feature.{}", 2), "input_scale": 1 / 255}


def mlp_branch_sizes(tensors: Tensors, role: str) -> dict[str, Any]:
    width = next(tensors[name].shape[0] for name in MLP_BRANCH.stems if name in tensors)
    depth = 1 + sum("hidden_layers" in name and name.endswith("weight") for name in tensors)
    return {"width": width, role: depth, "input_scale": 1.0}


def branch_sizes(network: str) -> Callable[[Tensors, str], dict[str, Any]]:
    """Make the function that returns the sizes of a network that can be a branch of DeNetDM."""

    def sizes(tensors: Tensors, role: str) -> dict[str, Any]:
        width = {"width": (0, *tensors["classifier.weight"].shape)[-1]} if "classifier.weight" in tensors else {}
        return {role: network, **width} if role in DENETDM_ROLES else {}

    return sizes


def conv_sizes(tensors: Tensors, role: str) -> dict[str, Any]:
    return {"widths": widths(tensors, "extracter.{}", 3), f"{role}_kernel": tensors["extracter.0.weight"].shape[2]}


def video_sizes(tensors: Tensors, role: str) -> dict[str, Any]:
    width, _, frames, *_ = tensors["s1.pathway0_stem.conv.weight"].shape
    return {"width": width, f"{role}_temporal_kernel": frames}


# ---- LfF, DisEnt, BiasEnsemble

MLP = Kind("mlp", ("feature.0.weight",), (None, None), layers("feature.{}", 2, 0), mlp_sizes)
RESNET20 = Kind(
    "resnet20",
    ("conv1.weight",),
    (16, None, 3, 3),
    pairs("conv1 body.0, bn1 body.1") | blocks("layer{}.{}", range(1, 4), 3, 3, {"": ""}),
    branch_sizes("resnet20"),
)
RESNET18 = Kind(
    "resnet18",
    ("conv1.weight",),
    (64, None, 7, 7),
    {name: f"body.{name}" for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")},
    branch_sizes("resnet18"),
)

# ---- DeNetDM: shallow (c1, ...), deep (0, ..., or a ResNet) and target branches (c2, ..., or a ResNet)

MLP_BRANCH = Kind(
    "mlp_branches",
    ("c1.weight", "c2.weight", "0.weight"),
    (None, None),
    pairs("c1 layers.0, c2 layers.0, 0 layers.0")
    | layers("s1.hidden_layers.{}", 1, 1)
    | layers("s2.hidden_layers.{}", 1, 1)
    | layers("2.hidden_layers.{}", 1, 1),
    mlp_branch_sizes,
)
CONV3 = Kind(
    "conv3",
    ("c1.weight",),
    (32, None, 5, 5),
    pairs("c1 body.0, b1 body.1, c2 body.4, b2 body.5, c3 body.8, b3 body.9"),
    branch_sizes("conv3"),
)
CONV4 = Kind(
    "conv4",
    ("c1.weight",),
    (64, None, 7, 7),
    pairs("c1 body.0, b1 body.1, c2 body.4, b2 body.5, c3 body.8, b3 body.10, c4 body.12, b4 body.13"),
    branch_sizes("conv4"),
)
PROJECTED = Kind(
    "resnet18",
    ("b1.conv1.weight",),
    (64, None, 7, 7),
    {"l1": "projection", **{f"b1.{name}": f"encoder.{own}" for name, own in RESNET18.modules.items()}},
    branch_sizes("resnet18"),
)

# ---- ReBias, and EnD, which uses the first of them

SIMPLE_CONV = Kind("simple_conv", ("extracter.0.weight",), (None,) * 4, {"extracter": "body"}, conv_sizes)
BAGNET18 = Kind(
    "bagnet18",
    ("conv1.weight",),
    (64, None, 1, 1),
    pairs("conv1 body.0, conv2 body.1, bn1 body.2")
    | blocks("layer{}.{}", range(1, 5), 2, 4, {"": "", ".downsample": ".shortcut"}),
    branch_sizes("bagnet18"),
)
RESNET3D = Kind(
    "resnet18_3d",
    ("s1.pathway0_stem.conv.weight",),
    (None, None, None, 7, 7),
    pairs("s1.pathway0_stem.conv body.0, s1.pathway0_stem.bn body.1")
    | blocks(
        "s{}.pathway0_res{}",
        range(2, 6),
        2,
        4,
        pairs(".branch1 .shortcut.0, .branch1_bn .shortcut.1, .branch2.a .conv1, .branch2.a_bn .bn1")
        | pairs(".branch2.b .conv2, .branch2.b_bn .bn2"),
    ),
    video_sizes,
)

KINDS = (MLP, RESNET20, RESNET18, MLP_BRANCH, CONV3, CONV4, PROJECTED, SIMPLE_CONV, BAGNET18, RESNET3D)


def kind_of(tensors: Tensors) -> Kind | None:
    """Return the kind of the network with these tensors; None if it is unknown."""
    return next((kind for kind in KINDS if kind.matches(tensors)), None)
