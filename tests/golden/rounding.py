"""How far rounding errors alone move a replay.

A network with ReLU and Adam has numbers that no two computers agree on: the bias of a convolution before batch norm has
the gradient zero, so Adam makes steps of full size from its rounding errors; so it does in the first steps for every
weight whose gradient happens to be tiny. Where ours differ from the recorded ones by more than the tolerance, the
replay is repeated on images with other rounding errors. What that changes in our own numbers, it may change in theirs.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy

from tests.golden.format import Comparison, GoldenFile

Replay = Callable[[GoldenFile], list[Comparison]]

REPEATS = 6  # at most: no more than needed to explain all differences


def allowing_for_rounding(replay: Replay) -> Replay:
    """`replay`, with the effect of rounding errors measured where it matters."""

    def replay_with_rounding(file: GoldenFile) -> list[Comparison]:
        comparisons = replay(file)
        for seed in range(REPEATS):
            wrong = any(not comparison.error <= comparison.limit for comparison in comparisons)
            if wrong or all(comparison.passed for comparison in comparisons):
                break
            others = replay(file.with_rounding_errors(seed))
            comparisons = [moved(ours, other) for ours, other in zip(comparisons, others, strict=True)]
        return comparisons

    return replay_with_rounding


def moved(ours: Comparison, other: Comparison) -> Comparison:
    """`ours`, knowing of one more replay how far rounding errors moved it."""
    if ours.ours is None or other.ours is None:
        return ours
    distance = float(numpy.abs(ours.ours - other.ours).max(initial=0.0)) / ours.scale
    return replace(ours, rounding=max(ours.rounding, distance))
