"""In what precision, and in what memory layout, networks compute."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Numerics:
    """`precision`, one of `PRECISIONS`: of the matrix products and convolutions of networks, by PyTorch's autocast.

    Parameters, their gradients and what networks return are float32 in any case. `channels_last`: images and the
    weights of convolutions have their channels beside each other in memory.
    """

    precision: str = "float32"
    channels_last: bool = False


USUAL = Numerics()


def by_numerics(forward: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """For methods of a network that go from a tensor to a tensor: computes as its attribute `numerics` says.

    The result is float32, so that losses, and all else that is made of it, are computed in float32. The gradient is
    that of what was computed. Nothing is computed otherwise where `numerics` are the defaults.
    """

    @wraps(forward)
    def wrapped(network: Any, values: Tensor) -> Tensor:
        numerics: Numerics = network.numerics
        if numerics.channels_last and values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        if numerics.precision == "float32":
            return forward(network, values)
        # every weight is used once in a call: nothing is gained by keeping its cast, which would outlive a CUDA graph's
        with torch.autocast(values.device.type, PRECISIONS[numerics.precision], cache_enabled=False):
            return forward(network, values).float()

    return wrapped


def computes_as_usual(networks: nn.Module) -> bool:
    """Whether the `numerics` of all networks in a module are the defaults."""
    return all(getattr(module, "numerics", USUAL) == USUAL for module in networks.modules())
