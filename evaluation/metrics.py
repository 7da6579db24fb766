"""Accuracies from counts per (target, bias) group. Empty groups are left out of every mean."""

from dataclasses import dataclass
from itertools import product

import numpy
from numpy.typing import NDArray

RULE_METRICS = (  # those that selection rules compare
    *("accuracy", "unbiased", "aligned", "conflicting", "worst_group", "align_conflict_harmonic"),
    *("worst_class", "train_weighted", "worst_intersection"),
)
GAPS = ("id_accuracy", "bg_gap", "co_obj_gap", "bg_co_obj_gap")  # of two attributes, as UrbanCars names them
METRICS = (*RULE_METRICS, *GAPS)
WITHOUT_BIAS = ("accuracy", "worst_class")  # metrics that need no bias labels
DIFFERENCE = "_gap"  # the end of the names of metrics and splits whose values are differences, in [-1, 1]


def is_difference(name: str) -> bool:
    """Whether the value `name`, such as "test/bg_gap" or "bg_gap/accuracy", is a difference of accuracies."""
    return any(part.endswith(DIFFERENCE) for part in name.split("/"))


@dataclass(frozen=True)
class GroupCounts:
    """correct and total int64 [num_classes, num_biases]; aligned bool, True for bias-aligned pairs.

    Images without bias labels have a single column. The bias may combine several attributes of `attribute_sizes` values
    each (the last one changes fastest); groups of fewer than `min_group` images are left out of every mean. `train`
    int64 [num_classes, num_biases] are the group sizes of the training split; None if unknown. `usual_shares`: the
    fraction of the images in which each of two attributes is the usual one of the class, where accuracy in
    distribution is defined by it.
    """

    correct: NDArray[numpy.int64]
    total: NDArray[numpy.int64]
    aligned: NDArray[numpy.bool_]
    attribute_sizes: tuple[int, ...] | None = None
    min_group: int = 1
    train: NDArray[numpy.int64] | None = None
    usual_shares: tuple[float, ...] | None = None

    def accuracies(self) -> NDArray[numpy.float64]:
        """The accuracy of each group in [0, 1], NaN for a group without samples."""
        with numpy.errstate(invalid="ignore"):
            return self.correct / self.total

    def metrics(self) -> dict[str, float]:
        """All of `METRICS`, in [0, 1]; NaN if there are no groups to average over, or the bias is unknown.

        `accuracy`: over samples. `unbiased`, `aligned` and `conflicting`: means over all, the aligned and the
        conflicting groups; `worst_group`: the minimum over groups; `align_conflict_harmonic`: harmonic mean of aligned
        and conflicting. With several attributes, `unbiased` and `worst_group` are the mean and the minimum over the
        attributes, and `worst_intersection` is the minimum over combinations of all attributes. `worst_class`: the
        minimum accuracy of a class, over its images. `train_weighted`: mean over groups weighted by their fraction of
        the training images, which papers on Waterbirds call average accuracy (Sagawa et al., ICLR 2020); NaN if a group
        of the training split has no image here.

        Of two attributes with `usual_shares`, as UrbanCars reports them (Li et al., CVPR 2023, sec. 5): `id_accuracy`,
        the mean over the images where both, one or none of the attributes are the usual ones, weighted as in
        distribution; `bg_gap`, `co_obj_gap` and `bg_co_obj_gap`, in [-1, 1]: the accuracy where the first, the second,
        or both of them are not, less `id_accuracy`.
        """
        values = dict.fromkeys(METRICS, float("nan"))
        if self.total.any():
            values["accuracy"] = float(self.correct.sum() / self.total.sum())
            classes = self.total.sum(axis=1)
            values["worst_class"] = float((self.correct.sum(axis=1)[classes > 0] / classes[classes > 0]).min())
        if self.total.shape[1] == 1:
            return values
        tables = [groups[total >= self.min_group] for groups, total in self._of_attributes()]
        if all(len(table) for table in tables):
            values["unbiased"] = float(numpy.mean([table.mean() for table in tables]))
            values["worst_group"] = float(min(table.min() for table in tables))
        groups, filled = self.accuracies(), self.total >= max(1, self.min_group)
        if filled.any():
            values["worst_intersection"] = float(groups[filled].min())
        if self.train is not None and self.train.any():
            present = self.train > 0
            values["train_weighted"] = float(numpy.average(groups[present], weights=self.train[present]))
        if self.aligned.any():
            aligned, conflicting = _mean(groups[filled & self.aligned]), _mean(groups[filled & ~self.aligned])
            both = aligned + conflicting
            harmonic = 2 * aligned * conflicting / both if both != 0 else 0.0
            values |= {"aligned": aligned, "conflicting": conflicting, "align_conflict_harmonic": harmonic}
        return values | self._gaps()

    def _gaps(self) -> dict[str, float]:
        """`GAPS`, if there are two attributes with `usual_shares`."""
        if self.attribute_sizes is None or self.usual_shares is None or not self.aligned.any():
            return {}
        values = numpy.stack(numpy.unravel_index(numpy.arange(self.total.shape[1]), self.attribute_sizes))
        is_usual = values[:, None] == values[:, self.aligned.argmax(axis=1)][:, :, None]  # [2, num_classes, num_biases]
        filled, groups = self.total >= max(1, self.min_group), self.accuracies()
        of = {
            (first, second): _mean(groups[filled & (is_usual[0] == first) & (is_usual[1] == second)])
            for first, second in product((True, False), repeat=2)
        }
        one, two = self.usual_shares
        usual = sum(
            (one if first else 1 - one) * (two if second else 1 - two) * accuracy
            for (first, second), accuracy in of.items()
        )
        conflicting = (of[False, True], of[True, False], of[False, False])
        return dict(zip(GAPS, (usual, *(accuracy - usual for accuracy in conflicting)), strict=True))

    def worst_group(self) -> tuple[int, int] | None:
        """(correct, total) of the group that `worst_group` is of, the smallest of several; None where it is unknown."""
        if self.total.shape[1] == 1:
            return None
        found = [
            (float(groups[place]), int(total[place]))
            for groups, total in self._of_attributes()
            for place in zip(*numpy.nonzero(total >= max(1, self.min_group)), strict=True)
        ]
        if not found:
            return None
        accuracy, size = min(found)
        return round(accuracy * size), size

    def _of_attributes(self) -> list[tuple[NDArray[numpy.float64], NDArray[numpy.int64]]]:
        """(accuracies, totals) [num_classes, values] for each attribute."""
        sizes = self.attribute_sizes or self.total.shape[1:]
        correct, total = (table.reshape(-1, *sizes) for table in (self.correct, self.total))
        tables = []
        for attribute in range(1, len(sizes) + 1):
            others = tuple(axis for axis in range(1, len(sizes) + 1) if axis != attribute)
            right, all_ = correct.sum(axis=others), total.sum(axis=others)
            tables.append((right / numpy.maximum(all_, 1), all_))
        return tables


def _mean(values: NDArray[numpy.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
