"""Images as the networks take them: float32 in [0, 1], or normalised."""

from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from debiaslab.core.memory import reused_memory
from debiaslab.datasets.preprocessing import Normalization

CACHED_VALUES = 2**17  # float32 that stay in a processor's cache from one pass over them to the next


def as_input(images: Tensor, normalize: Normalization | None = None) -> Tensor:
    """Images [B, C, ...] in [0, 255] as float32 in [0, 1], less the mean and divided by the standard deviation, if
    given."""
    if images.device.type == "cpu":
        return _as_input_on_cpu(images, normalize)
    scaled = images.to(torch.float32, copy=True).div_(255)
    if normalize is None:
        return scaled
    mean, std = _per_channel(normalize, images.device, images.ndim)
    return scaled.sub_(mean).div_(std)


def _as_input_on_cpu(images: Tensor, normalize: Normalization | None) -> Tensor:
    """The same numbers, a few images at a time, which stay in the processor's cache from one pass to the next.

    By numpy, which takes one thread: threads that start and wait for each other at every pass are slower, above all on
    a busy machine.
    """
    result = reused_memory(images.shape, torch.float32)
    pixels, values = images.numpy(), result.numpy()
    size = max(1, CACHED_VALUES // prod(images.shape[1:]))
    for start in range(0, len(images), size):
        part = values[start : start + size]
        part[:] = pixels[start : start + size]
        part /= 255
        if normalize is not None:
            mean, std = _per_channel(normalize, images.device, images.ndim)
            part -= mean.numpy()
            part /= std.numpy()
    return result


@lru_cache(maxsize=8)
def _per_channel(normalize: Normalization, device: torch.device, dimensions: int) -> tuple[Tensor, Tensor]:
    """float32 [C, 1, ...] each, for images of so many dimensions, kept on the device."""
    shape = (-1, *[1] * (dimensions - 2))
    mean, std = (torch.tensor(values, device=device).view(shape) for values in normalize)
    return mean, std
