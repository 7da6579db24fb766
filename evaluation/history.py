"""The history of a run: its evaluations as plain values, to be recorded."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import isnan, nan
from typing import Any

import numpy
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.evaluation.metrics import METRICS, GroupCounts
from debiaslab.evaluation.outcomes import read_outcomes
from debiaslab.evaluation.selection import INFERRED, Rule, best_index, without_bias

EVALUATIONS = "evaluations.jsonl"  # file of a run's record with its history


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the point in training, mean losses since the previous one, and correct counts.

    `step` counts the optimiser steps of the whole run, `phase_step` and `epoch` those of the phase. `correct` is split
    -> branch -> counts [num_classes][num_biases]; the first branch is the phase's prediction. `diagnostics` are those
    of the training samples (`diagnostics.py`). `outcomes` is split -> those of the prediction (`outcomes.py`), as plain
    values; empty in records that are older. `inferred` are the numbers of "correct" and of all ("total") validation
    images in each group that the method has inferred; empty if it has not.
    """

    phase: str
    epoch: int
    phase_step: int
    step: int
    losses: dict[str, float]
    correct: dict[str, dict[str, list[list[int]]]]
    diagnostics: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    inferred: dict[str, list[int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "inferred" or value}

    def worst_inferred(self) -> float:
        """The accuracy in [0, 1] of the worst inferred group of validation images; NaN if there are none."""
        pairs = zip(self.inferred.get("correct", []), self.inferred.get("total", []), strict=True)
        return min((correct / total for correct, total in pairs if total), default=nan)


@dataclass(frozen=True)
class History:
    """All evaluations of a run. `total` is split -> counts [num_classes][num_biases], `aligned` the bias-aligned
    pairs. `train` are the group counts of the training images; None if their bias is unknown, and in older records.

    A split without bias labels has counts [num_classes][1]. `attribute_sizes` and `min_group` as in `GroupCounts`;
    `means` maps the name of a mean to the splits that it averages, `differences` that of a difference to its splits,
    the first less the second. `usual_shares` as in `GroupCounts`.
    """

    evaluations: list[Evaluation]
    total: dict[str, list[list[int]]]
    aligned: list[list[bool]]
    attribute_sizes: list[int] | None = None
    min_group: int = 1
    means: dict[str, list[str]] = field(default_factory=dict)
    train: list[list[int]] | None = None
    usual_shares: list[float] | None = None
    differences: dict[str, list[str]] = field(default_factory=dict)

    def of_phase(self, phase: str) -> list[Evaluation]:
        return [evaluation for evaluation in self.evaluations if evaluation.phase == phase]

    def counts(self, evaluation: Evaluation, split: str, branch: str | None = None) -> GroupCounts:
        """The group counts of `branch` (None: the phase's prediction)."""
        branches = evaluation.correct[split]
        correct = branches[branch if branch is not None else next(iter(branches))]
        total, aligned = numpy.array(self.total[split]), numpy.array(self.aligned)
        if total.shape != aligned.shape:  # no bias labels
            aligned = numpy.zeros(total.shape, dtype=bool)
        sizes = None if self.attribute_sizes is None else tuple(self.attribute_sizes)
        known = self.train is not None and total.shape == aligned.shape
        train = numpy.array(self.train) if known else None
        shares = None if self.usual_shares is None or total.shape[1] == 1 else tuple(self.usual_shares)
        return GroupCounts(numpy.array(correct), total, aligned, sizes, self.min_group, train, shares)

    def metrics(self, evaluation: Evaluation) -> dict[str, dict[str, dict[str, float]]]:
        """Split -> branch -> metric -> value or NaN; the `means` and `differences` come after the splits.

        Values are in [0, 1], but for differences.
        """
        values = {
            split: {branch: self.counts(evaluation, split, branch).metrics() for branch in branches}
            for split, branches in evaluation.correct.items()
        }
        for name, splits in self.means.items():
            values[name] = {
                branch: {metric: _mean(values[split][branch][metric] for split in splits) for metric in METRICS}
                for branch in values[splits[0]]
            }
        for name, (first, second) in self.differences.items():
            values[name] = {
                branch: {metric: metrics[metric] - values[second][branch][metric] for metric in METRICS}
                for branch, metrics in values[first].items()
            }
        return values

    def outcome_metrics(self, evaluation: Evaluation) -> dict[str, dict[str, float]]:
        """Split -> outcome metric -> value; none of splits whose outcomes were not recorded."""
        totals = {split: numpy.array(total) for split, total in self.total.items()}
        return {split: read_outcomes(values, totals[split]).metrics() for split, values in evaluation.outcomes.items()}

    def value(self, evaluation: Evaluation, rule: Rule) -> float:
        """The value that `rule` (not `last`) compares: the prediction's metric on the rule's split."""
        assert rule.split is not None
        assert rule.metric is not None
        if rule.metric == INFERRED:
            return evaluation.worst_inferred()
        return self.prediction(evaluation, rule.split)[rule.metric]

    def prediction(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        """The metrics of the phase's prediction on `split`."""
        return self.counts(evaluation, split).metrics()

    def choose(self, evaluations: Sequence[Evaluation], rule: Rule) -> Evaluation:
        """The evaluation that `rule` selects among `evaluations`."""
        if rule.split is None:
            return evaluations[-1]
        return evaluations[best_index([self.value(evaluation, rule) for evaluation in evaluations])]


def empty_history(data: BiasedDataset) -> History:
    """The history of a run on `data` before its first evaluation."""
    total = {name: group_sizes(data, split) for name, split in data.evaluation_splits().items()}
    train = group_sizes(data, data.train) if data.train.has_bias and len(data.train) else None
    sizes = None if data.attribute_sizes is None else list(data.attribute_sizes)
    shares = None if data.usual_shares is None else list(data.usual_shares)
    means, differences = ({name: list(splits) for name, splits in of.items()} for of in (data.means, data.differences))
    aligned = data.aligned_groups().tolist()
    return History([], total, aligned, sizes, data.min_group, means, train, shares, differences)


def group_sizes(data: BiasedDataset, split: Split) -> list[list[int]]:
    """The number of images of each (target, bias) group: [num_classes][num_biases], or [num_classes][1] without bias
    labels."""
    shape = data.group_shape(split)
    sizes: list[list[int]] = torch.bincount(data.groups(split), minlength=shape.numel()).view(shape).tolist()
    return sizes


def require_defined(rule: Rule, data: BiasedDataset, setting: str) -> None:
    """Raise `UserError`, naming `setting`, if the metric of `rule` is undefined on the images of its split."""
    if rule.split is None or rule.metric in (None, INFERRED):
        return
    history = empty_history(data)
    everything = Evaluation("", 0, 0, 0, {}, {split: {"": total} for split, total in history.total.items()})
    if isnan(history.value(everything, rule)):
        split = data.evaluation_splits()[rule.split]
        least = f" of {data.min_group} or more" if data.min_group > 1 else ""
        reason = f"have no such group{least}" if split.has_bias else "have no bias labels"
        raise UserError(
            f"{setting}={rule.name}: the {rule.split} images {reason}; use {without_bias(rule.name)}, or last"
        )


def _mean(values: Iterable[float]) -> float:
    return float(numpy.mean(list(values)))
