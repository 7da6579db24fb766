"""Replay of the image corruptions: exact results, and statistics.

`corruption/NAME/S`: the results at severity S for the first images of `corruption/input`. `corruption_stats/NAME/S`:
mean, mean size and root mean square of the change, and standard deviation of the results, over all images; a random
corruption is repeated six times, so that these numbers are themselves random.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy
from numpy.typing import NDArray

from debiaslab.core.randomness import derived_seed
from debiaslab.datasets.corruptions import corrupt
from tests.golden.format import Comparison, GoldenFile, Unreadable, compare, wrong_shape

FAR = 1  # grey levels; values that differ by more count
FAR_SHARE = 0.005  # of the values may do so
TOLERANCE = 0.05  # of a statistic
STATISTICS = ("mean", "mean size", "root mean square", "deviation")
REPETITIONS = 6  # in a file
PRECISION = 0.0075  # our random corruptions are repeated until their statistics have so small a standard error,
MAX_REPETITIONS = 150  # at most so often


def replay(file: GoldenFile) -> list[Comparison]:
    """Of each recorded result and statistic; for a statistic, the one of the four that is farthest off."""
    exact, statistics = file.under("corruption/"), file.under("corruption_stats/")
    exact.pop("input", None)
    if not exact and not statistics:
        return []
    images = file["corruption/input"]
    if images.dtype != numpy.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise Unreadable(f"{file.path}: corruption/input is {images.dtype} {list(images.shape)}, not images")
    images = channels_first(images)
    return [
        *(compare_results(series, images, theirs) for series, theirs in exact.items()),
        *(compare_statistics(series, images, theirs, series in exact) for series, theirs in statistics.items()),
    ]


def compare_results(series: str, images: NDArray[numpy.uint8], theirs: NDArray[Any]) -> Comparison:
    """The share of values that are farther than `FAR` from the recorded ones."""
    name = f"corruption/{series}"
    ours = corrupted(series, images[: len(theirs)], repetition=0)
    if theirs.ndim != 4 or ours.shape != channels_first(theirs).shape:
        return wrong_shape(name, ours.transpose(0, 2, 3, 1).shape, theirs.shape, FAR_SHARE)
    far = abs(ours.astype(numpy.int64) - channels_first(theirs).astype(numpy.int64)) > FAR
    return Comparison(f"{name} (share of values off by more than {FAR})", float(far.mean()), FAR_SHARE)


def compare_statistics(series: str, images: NDArray[numpy.uint8], theirs: NDArray[Any], exact: bool) -> Comparison:
    """The mean change is compared on the scale of the mean size of a change: it may be practically zero."""
    name = f"corruption_stats/{series}"
    if theirs.shape != (len(STATISTICS),):
        return wrong_shape(name, (len(STATISTICS),), theirs.shape, TOLERANCE)
    scale = numpy.array([theirs[1], *theirs[1:]])
    moments, noise = numpy.empty((0, 5)), numpy.zeros(len(STATISTICS))
    for found in all_moments(series, images, 1 if exact else MAX_REPETITIONS):
        moments = numpy.append(moments, [found], axis=0)
        if len(moments) >= REPETITIONS:
            noise = numpy.std([statistics_of(row) for row in moments], axis=0, ddof=1)
            if (noise <= PRECISION * abs(scale) * len(moments) ** 0.5).all():
                break
    ours = statistics_of(moments.mean(axis=0))
    sampling = noise * (1 / REPETITIONS + 1 / len(moments)) ** 0.5
    comparisons = []
    for index, statistic in enumerate(STATISTICS):
        comparison = compare(f"{name} ({statistic})", ours[index], theirs[index], TOLERANCE, float(scale[index]))
        comparisons.append(replace(comparison, sampling=float(sampling[index]) / comparison.scale))
    return max(comparisons, key=lambda comparison: comparison.error / comparison.allowed)


def all_moments(series: str, images: NDArray[numpy.uint8], repetitions: int) -> Iterator[list[float]]:
    """Mean, mean size and mean square of the change, mean and mean square of the result; for each repetition."""
    for repetition in range(repetitions):
        result = corrupted(series, images, repetition).astype(numpy.float64)
        change = result - images
        yield [float(values.mean()) for values in (change, abs(change), change**2, result, result**2)]


def statistics_of(moments: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    mean, size, square, result, result_square = moments
    return numpy.array([mean, size, square**0.5, (result_square - result**2) ** 0.5])


def corrupted(series: str, images: NDArray[numpy.uint8], repetition: int) -> NDArray[numpy.uint8]:
    """By `series`, such as "Glass Blur/2"."""
    title, severity = series.split("/")
    seeds = [derived_seed(0, title, severity, repetition, index) for index in range(len(images))]
    return corrupt(images, title.lower().replace(" ", "_"), int(severity), seeds)


def channels_first(images: NDArray[Any]) -> NDArray[Any]:
    return numpy.ascontiguousarray(images.transpose(0, 3, 1, 2))
