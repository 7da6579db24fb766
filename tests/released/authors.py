"""Files as the authors' code saves them, made of our networks: their names, beside the usual company."""

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import munch  # type: ignore[import-untyped]
import numpy as np
import torch
from torch import Tensor, nn

from debiaslab.methods import METHODS, Method, Task
from debiaslab.models import Networks, architecture

CLASSES = 3
BLOCKS3 = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
BLOCKS2 = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
VIDEO_BLOCKS = [f"s{stage}.pathway0_res{block}" for stage in (2, 3, 4, 5) for block in (0, 1)]
HIDDEN = "hidden_layers.{}"

# what the authors call our `layers.N` or `body.N`, by N
NUMBERED: Mapping[str, list[str]] = {
    "mlp": [f"feature.{number}" for number in (0, 2, 4)],
    "shallow mlp": ["c1", "s1.hidden_layers.0"],
    "target mlp": ["c2", *(f"s2.hidden_layers.{number}" for number in range(3))],
    "deep mlp": ["0", *(f"2.hidden_layers.{number}" for number in range(3))],
    "resnet20": ["conv1", "bn1", "", *BLOCKS3],
    "bagnet18": ["conv1", "conv2", "bn1", "", *BLOCKS2],
    "resnet18_3d": ["s1.pathway0_stem.conv", "s1.pathway0_stem.bn", "", "", *VIDEO_BLOCKS],
    "conv3": ["c1", "b1", "", "", "c2", "b2", "", "", "c3", "b3"],
    "conv4": ["c1", "b1", "", "", "c2", "b2", "", "", "c3", "", "b3", "", "c4", "b4"],
    "simple_conv": [f"extracter.{number}" for number in range(12)],
}
INNER = {  # of their blocks, where they differ from ours
    "bagnet18": {"shortcut": "downsample"},
    "resnet18_3d": {
        "conv1": "branch2.a",
        "bn1": "branch2.a_bn",
        "conv2": "branch2.b",
        "bn2": "branch2.b_bn",
        "shortcut.0": "branch1",
        "shortcut.1": "branch1_bn",
    },
}


def encoder_name(kind: str, name: str) -> str:
    """The authors' name of the tensor `name` of an encoder of ours."""
    if kind == "projected":
        return name.replace("projection.", "l1.").replace("encoder.body.", "b1.")
    if kind == "resnet18":
        return name.removeprefix("body.")
    number, rest = re.fullmatch(r"(?:layers|body)\.(\d+)\.(.*)", name).groups()  # type: ignore[union-attr]
    for ours, theirs in INNER.get(kind, {}).items():
        rest = re.sub(rf"^{re.escape(ours)}\.", f"{theirs}.", rest)
    return f"{NUMBERED[kind][int(number)]}.{rest}"


def network(method: Method, kind: str, encoder: str, head: str | None, head_name: str = "fc") -> dict[str, Tensor]:
    """The state dict of one network of `method`, by the authors' names."""
    state = {}
    for name, tensor in method.state_dict().items():
        if name.startswith(f"{encoder}."):
            state[encoder_name(kind, name.removeprefix(f"{encoder}."))] = tensor
        elif head is not None and name.startswith(f"{head}."):
            state[f"{head_name}.{name.removeprefix(f'{head}.')}"] = tensor
    return state


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def built(
    method: str,
    model: str,
    shape: tuple[int, ...],
    seed: int,
    hparams: Mapping[str, Any],
    model_hparams: Mapping[str, Any],
) -> Method:
    """`method` in eval mode, its batch norms as after some training."""
    cls = METHODS[method]
    networks = Networks(architecture(model, model_hparams), shape, CLASSES, seed)
    made = cls(cls.Config(**hparams), networks, Task(CLASSES, torch.zeros(4, dtype=torch.int64), seed))
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in made.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return made.eval()


def with_company(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Any]:
    """As LfF's code, and those that follow it, save a network."""
    optimizer = torch.optim.Adam(network.parameters())
    return {"steps": 9, "state_dict": dict(state), "optimizer": optimizer.state_dict()}


def of_rebias(f: Mapping[str, Tensor], g: Mapping[str, Tensor], criterion: str = "RbfHSIC", weight: int = 1) -> Any:
    """As ReBias's code saves: behind nn.DataParallel, with settings of the class Munch and numbers of NumPy's."""
    settings = {"outer_criterion": criterion, "f_lambda_outer": weight, "g_lambda_inner": weight, "f_config": {"a": 1}}
    return {
        "f_net": prefixed("module.", f),
        "g_nets": [prefixed("module.", g)],
        "f_optimizer": {"state": {}, "param_groups": []},
        "options": munch.munchify(settings),
        "metadata": {"best_acc": np.float64(0.4), "scores": {"unbiased": {"f_acc": np.ones(2)}}},
    }


def of_end(state: Mapping[str, Tensor]) -> Any:
    return {"model": dict(state), "optimizer": {}, "config": Namespace(alpha=0.1, device="cuda")}
