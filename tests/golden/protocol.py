"""Replay of the data protocols: bias labels, colours of Colored MNIST, image corruptions."""

import os
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from debiaslab.datasets.bias import assign_bias
from debiaslab.datasets.coloring import COLORS, color_digits
from debiaslab.datasets.mnist import read_mnist
from tests.golden import corruptions
from tests.golden.format import Comparison, GoldenFile, Unreadable, wrong_shape


def replay(file: GoldenFile) -> list[Comparison]:
    """Labels and coloured images must be equal, value for value; for corruptions see there."""
    comparisons = []
    for name in sorted(name for name in file.arrays if name.startswith("attr") and name.endswith("/target")):
        series = name.removesuffix("target")
        target = file[name].astype(numpy.int64)
        bias = assign_bias(target, float(file[f"{series}ratio"]), num_classes=int(target.max()) + 1)
        comparisons.append(exact(f"{series}bias", bias, file[f"{series}bias"]))
    if "colours" in file:
        comparisons.append(exact("colours", COLORS, file["colours"]))
    by_severity = file.under("colour/severity")
    digits = grey_digits(file) if by_severity else numpy.empty(0, numpy.uint8)
    for severity, images in by_severity.items():
        ours = color_digits(digits, file["colour/bias"], file["colour/noise"], int(severity))
        comparisons.append(exact(f"colour/severity{severity}", ours.transpose(0, 2, 3, 1), images))
    comparisons += corruptions.replay(file)
    if not comparisons:
        raise Unreadable(f"{file.path}: neither a method's file nor one of a data protocol")
    return comparisons


def exact(series: str, ours: NDArray[Any], theirs: NDArray[Any]) -> Comparison:
    """Error 0 if all values are equal, else the fraction that is not."""
    if ours.shape != theirs.shape:
        return wrong_shape(series, ours.shape, theirs.shape, 0.0)
    return Comparison(f"{series} (fraction unequal)", float((ours != theirs).mean()), 0.0)


def grey_digits(file: GoldenFile) -> NDArray[Any]:
    """The grey digits behind the coloured images, uint8 [N, 28, 28].

    From MNIST itself where it is at hand; otherwise the grey value of each pixel that explains the recorded images
    best. All severities and channels share one grey value, so wrong colours find none that explains them exactly.
    """
    root = Path(os.environ.get("DEBIAS_DATA", "data"))
    if (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        (images, _), _ = read_mnist(root)
        chosen: NDArray[Any] = images[file["colour/mnist_index"]]
        return chosen
    severities = {int(severity): images for severity, images in file.under("colour/severity").items()}
    ramp = numpy.arange(256, dtype=numpy.uint8)[None, :, None]  # every grey value as the pixels of one image
    num_images, height, width, _ = next(iter(severities.values())).shape
    misses = numpy.zeros((num_images, height, width, 256), dtype=numpy.uint8)
    for severity, images in severities.items():
        explained = color_digits(
            numpy.repeat(ramp, num_images, axis=0), file["colour/bias"], file["colour/noise"], severity
        )  # [N, 3, 256, 1]
        for channel in range(3):
            misses += images[..., channel, None] != explained[:, channel, None, None, :, 0]
    digits: NDArray[Any] = misses.argmin(axis=3).astype(numpy.uint8)
    return digits
