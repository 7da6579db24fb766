"""Convert images to network inputs: float32 in [0, 1], or normalised."""

from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from debiaslab.core.memory import reused_memory
from debiaslab.datasets.preprocessing import Normalization

CACHED_VALUES = 2**17  # float32 values that fit into the CPU cache


def as_input(images: Tensor, normalize: Normalization | None = None) -> Tensor:
    """Convert images [B, C, ...] in [0, 255] to float32 in [0, 1], and normalise them by mean and standard deviation if
    given. Features, float32 [B, F], stay as they are."""
    if images.ndim == 2:
        return images
    if images.device.type == "cpu":
        return _as_input_on_cpu(images, normalize)
    scaled = images.to(torch.float32, copy=True).div_(255)
    if normalize is None:
        return scaled
    mean, std = _per_channel(normalize, images.device, images.ndim)
    return scaled.sub_(mean).div_(std)


def _as_input_on_cpu(images: Tensor, normalize: Normalization | None) -> Tensor:
    """The same values, computed a few images at a time, which stay in the CPU cache between passes.

    Uses numpy, which is single-threaded: synchronising threads in every pass is slower, especially on a busy machine.
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
    """Mean and standard deviation, float32 [C, 1, ...], for images with `dimensions` axes; cached on the device."""
    shape = (-1, *[1] * (dimensions - 2))
    mean, std = (torch.tensor(values, device=device).view(shape) for values in normalize)
    return mean, std
