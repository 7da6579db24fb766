"""Colour grey digits by the protocol of Colored MNIST (Nam et al., NeurIPS 2020)."""

from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.core.randomness import numpy_generator
from debiaslab.core.settings import between, setting
from debiaslab.datasets.base import BiasedDataset
from debiaslab.datasets.bias import assign_bias
from debiaslab.datasets.splits import Split

Digits = tuple[NDArray[numpy.uint8], NDArray[numpy.int64]]  # images [N, H, W], targets [N]

# RGB in [0, 1]; row c is the colour of bias class c
COLORS = numpy.array(
    [
        [0.9836823344230652, 0.31251901388168335, 0.16857534646987915],
        [0.9905296564102173, 0.9156052470207214, 0.35151219367980957],
        [0.6729639768600464, 0.4610704779624939, 0.5798081755638123],
        [0.783251941204071, 0.8315559029579163, 0.6013293862342834],
        [0.08801579475402832, 0.7779633402824402, 0.9818077683448792],
        [0.32139337062835693, 0.9610545635223389, 0.446449875831604],
        [0.024615883827209473, 0.23565047979354858, 0.7586662769317627],
        [0.5552469491958618, 0.10158014297485352, 0.7617631554603577],
        [0.2077232003211975, 0.3929485082626343, 0.018702387809753418],
        [0.8336576223373413, 0.2024092674255371, 0.266943097114563],
    ],
    dtype=numpy.float32,
)

# standard deviation of the colour noise for severity 1, 2, ...: the higher the severity, the purer the colour
NOISE_STD = (0.05, 0.02, 0.01, 0.005, 0.002)

UNBIASED_RATIO = 0.1  # bias-aligned fraction of the evaluation images; with ten colours, all are equally frequent


def color_digits(
    digits: NDArray[numpy.uint8], bias: NDArray[numpy.int64], noise: NDArray[numpy.float32], severity: int
) -> NDArray[numpy.uint8]:
    """Colour grey digits uint8 [N, H, W] by their bias: uint8 [N, 3, H, W].

    `noise` float32 [N, 3] is standard normal. `severity` is 1 to 5.
    """
    colors = numpy.clip(COLORS[bias] + noise * numpy.float32(NOISE_STD[severity - 1]), 0, 1)  # [N, 3]
    images = numpy.empty((len(digits), 3, *digits.shape[1:]), dtype=numpy.uint8)
    for channel in range(3):  # one channel at a time: a third of the memory
        images[:, channel] = colors[:, channel, None, None] * digits
    return images


def build_colored_digits(
    train: Digits, test: Digits, *, num_valid: int, skew: float, severity: int, seed: int
) -> dict[str, Tensor]:
    """Build tensors "<split>/<field>" for train, valid and test.

    `skew` is the bias-conflicting fraction of train; valid, the last `num_valid` training images (0: no such split),
    and test are unbiased. The colour noise of an image depends on `seed` and its position alone.
    """
    tensors: dict[str, Tensor] = {}

    def add(split: str, digits: Digits, noise: NDArray[numpy.float32], aligned_ratio: float) -> None:
        images, target = digits
        bias = assign_bias(target, aligned_ratio, num_classes=len(COLORS))
        tensors[f"{split}/images"] = torch.from_numpy(color_digits(images, bias, noise, severity))
        tensors[f"{split}/target"] = torch.from_numpy(target.copy())
        tensors[f"{split}/bias"] = torch.from_numpy(bias)

    images, target = train
    size = len(images) - num_valid
    noise = color_noise(seed, "train", len(images))
    add("train", (images[:size], target[:size]), noise[:size], 1 - skew)
    if num_valid:
        add("valid", (images[size:], target[size:]), noise[size:], UNBIASED_RATIO)
    add("test", test, color_noise(seed, "test", len(test[0])), UNBIASED_RATIO)
    return tensors


def color_noise(seed: int, split: str, size: int) -> NDArray[numpy.float32]:
    """Standard normal float32 [size, 3]."""
    return numpy_generator(seed, "color noise", split).standard_normal((size, 3), dtype=numpy.float32)


def dataset_from_tensors(name: str, tensors: dict[str, Tensor], key: str, reverse: bool) -> BiasedDataset:
    """The data set of tensors named as in `build_colored_digits`; `reverse` swaps target and bias."""
    target, bias = ("bias", "target") if reverse else ("target", "bias")

    def split(part: str) -> Split:
        return Split(tensors[f"{part}/images"], tensors[f"{part}/{target}"], tensors[f"{part}/{bias}"])

    return BiasedDataset(
        name=name,
        train=split("train"),
        valid=split("valid") if "valid/images" in tensors else None,
        test=split("test"),
        num_classes=10,
        num_biases=10,
        fingerprint=f"{key}-reverse" if reverse else key,
    )


def coloring_setting(**declared: Any) -> Any:
    """The setting `severity` of a data set of coloured digits."""
    highest = len(NOISE_STD)
    return setting(
        4,
        f"purity of the colours, 1 to {highest}: the purer, the stronger the bias",
        between(1, highest),
        label=True,
        **declared,
    )
