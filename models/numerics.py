"""The precision and memory layout that networks compute in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Numerics:
    """`precision`, one of `PRECISIONS`: autocast dtype of the networks' matrix products and convolutions.

    Parameters, gradients and the outputs of networks are float32 in either case. `channels_last`: images and
    convolution weights are stored in the channels-last memory format.
    """

    precision: str = "float32"
    channels_last: bool = False


USUAL = Numerics()


def by_numerics(forward: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Decorate a network's tensor-to-tensor method so that it computes with the network's attribute `numerics`.

    The result is cast to float32, so losses and everything else derived from it are computed in float32. With the
    default `numerics` the method is called as it is.
    """

    @wraps(forward)
    def wrapped(network: Any, values: Tensor) -> Tensor:
        numerics: Numerics = network.numerics
        if numerics.channels_last and values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        if numerics.precision == "float32":
            return forward(network, values)
        # each weight is used once per call, so caching its cast gains nothing, and the cache would outlive a CUDA graph
        with torch.autocast(values.device.type, PRECISIONS[numerics.precision], cache_enabled=False):
            return forward(network, values).float()

    return wrapped


def computes_as_usual(networks: nn.Module) -> bool:
    """Whether all networks in a module have the default `numerics`."""
    return all(getattr(module, "numerics", USUAL) == USUAL for module in networks.modules())
