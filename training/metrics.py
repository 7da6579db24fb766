"""Accuracies from counts per (target, bias) group. Empty groups are left out of every mean."""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

METRICS = ("accuracy", "unbiased", "aligned", "conflicting", "worst_group", "align_conflict_harmonic")


@dataclass(frozen=True)
class GroupCounts:
    """correct and total int64 [num_classes, num_biases]; aligned bool, True for the usual (target, bias) pairs."""

    correct: NDArray[numpy.int64]
    total: NDArray[numpy.int64]
    aligned: NDArray[numpy.bool_]

    def accuracies(self) -> NDArray[numpy.float64]:
        """Accuracy of each group in [0, 1], not-a-number for a group without samples."""
        with numpy.errstate(invalid="ignore"):
            return self.correct / self.total

    def metrics(self) -> dict[str, float]:
        """All of `METRICS`, in [0, 1]; not-a-number where no group counts.

        `accuracy` over samples; `unbiased`, `aligned` and `conflicting`: means over all, the aligned and the other
        groups; `worst_group`: the least; `align_conflict_harmonic`: harmonic mean of aligned and conflicting.
        """
        groups = self.accuracies()
        filled = self.total > 0
        aligned, conflicting = _mean(groups[filled & self.aligned]), _mean(groups[filled & ~self.aligned])
        both = aligned + conflicting
        return {
            "accuracy": float(self.correct.sum() / self.total.sum()) if filled.any() else float("nan"),
            "unbiased": _mean(groups[filled]),
            "aligned": aligned,
            "conflicting": conflicting,
            "worst_group": float(groups[filled].min()) if filled.any() else float("nan"),
            "align_conflict_harmonic": 2 * aligned * conflicting / both if both != 0 else 0.0,
        }


def _mean(values: NDArray[numpy.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
