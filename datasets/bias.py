"""Bias labels by the protocol of Learning from Failure (Nam et al., NeurIPS 2020)."""

import numpy
from numpy.typing import NDArray


def assign_bias(target: NDArray[numpy.int64], aligned_ratio: float, num_classes: int) -> NDArray[numpy.int64]:
    """Bias labels int64 [N] for targets int64 [N], a function of the order of the targets alone.

    Within each class, in data-set order, the first samples get bias 0, the next bias 1, and so on, with boundaries at
    the rounded cumulative fractions: `aligned_ratio` for the class's own bias, equal fractions for all others.
    """
    others = (1 - aligned_ratio) / (num_classes - 1)
    shares = aligned_ratio * numpy.eye(num_classes) + others * (1 - numpy.eye(num_classes))
    bias = numpy.zeros_like(target)
    for label in range(num_classes):
        of_class = numpy.flatnonzero(target == label)
        ends = (len(of_class) * numpy.cumsum(shares[label])).round()
        bias[of_class] = numpy.searchsorted(ends[:-1], numpy.arange(len(of_class)), side="right")
    return bias
