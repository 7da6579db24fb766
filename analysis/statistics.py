"""How sure a number is: intervals over seeds and over images, and tests of several methods against one."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TypeVar

import numpy

Interval = tuple[float, float]
K = TypeVar("K")
RESAMPLES = 10_000
FEWEST = 3  # seeds that a bootstrap makes sense of


def t_interval(values: Sequence[float], percent: float) -> Interval | None:
    """Student's interval of the mean of `values`, one for each seed; None for one value."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.5 + percent / 200, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return fmean(values) - half, fmean(values) + half


def bootstrap_interval(values: Sequence[float], percent: float) -> Interval | None:
    """The percentiles of the means of resampled `values`; None for fewer than `FEWEST`. The same values give the same
    interval."""
    if len(values) < FEWEST:
        return None
    chosen = numpy.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = numpy.percentile(numpy.asarray(values)[chosen].mean(axis=1), (50 - percent / 2, 50 + percent / 2))
    return float(low), float(high)


def wilson_interval(correct: int, total: int, percent: float) -> Interval | None:
    """Wilson's score interval (JASA 1927) of a share, `correct` of `total` images, in [0, 1]; None for no image."""
    if total < 1:
        return None
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(percent / 100, "wilson")
    return float(interval.low), float(interval.high)


def holm(values: Mapping[K, float]) -> dict[K, float]:
    """The p-values corrected by Holm (1979) for their number; those that are not a number are of no test, and stay."""
    known = sorted((key for key, p in values.items() if p == p), key=lambda key: values[key])
    corrected, largest = dict(values), 0.0
    for rank, key in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * values[key]))
        corrected[key] = largest
    return corrected
