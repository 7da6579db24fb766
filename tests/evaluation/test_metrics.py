from math import isnan

import numpy
import pytest

from debiaslab.evaluation.metrics import METRICS, GroupCounts

ALIGNED = numpy.eye(2, dtype=bool)


def counts(correct: list[list[int]], total: list[list[int]]) -> GroupCounts:
    return GroupCounts(numpy.array(correct), numpy.array(total), ALIGNED)


def test_means_over_groups() -> None:
    metrics = counts([[90, 1], [2, 40]], [[100, 10], [10, 50]]).metrics()
    assert set(metrics) == set(METRICS)
    assert metrics["accuracy"] == pytest.approx(133 / 170)
    assert metrics["unbiased"] == pytest.approx((0.9 + 0.1 + 0.2 + 0.8) / 4)
    assert metrics["aligned"] == pytest.approx(0.85)
    assert metrics["conflicting"] == pytest.approx(0.15)
    assert metrics["worst_group"] == pytest.approx(0.1)
    assert metrics["align_conflict_harmonic"] == pytest.approx(2 * 0.85 * 0.15 / 1.0)


def test_empty_groups_are_left_out() -> None:
    metrics = counts([[5, 0], [0, 0]], [[10, 0], [0, 10]]).metrics()
    assert metrics["unbiased"] == pytest.approx(0.25)
    assert metrics["worst_group"] == 0
    assert isnan(metrics["conflicting"])
    assert isnan(metrics["align_conflict_harmonic"])


def test_no_sample_at_all() -> None:
    assert all(isnan(value) for value in counts([[0, 0], [0, 0]], [[0, 0], [0, 0]]).metrics().values())


def test_nothing_right() -> None:
    assert counts([[0, 0], [0, 0]], [[1, 1], [1, 1]]).metrics()["align_conflict_harmonic"] == 0


def test_without_bias_labels_only_accuracies_of_classes_are_known() -> None:
    counts = GroupCounts(numpy.array([[3], [1]]), numpy.array([[4], [4]]), numpy.zeros((2, 1), dtype=bool))
    metrics = counts.metrics()
    assert (metrics.pop("accuracy"), metrics.pop("worst_class")) == (0.5, 0.25)
    assert all(isnan(value) for value in metrics.values())


def test_without_usual_pairs_nothing_is_aligned_or_conflicting() -> None:
    table = numpy.array([[2, 4], [4, 4]])
    metrics = GroupCounts(table - 1, table, numpy.zeros((2, 2), dtype=bool)).metrics()
    assert metrics["unbiased"] == (0.5 + 3 * 0.75) / 4
    assert metrics["worst_group"] == 0.5
    assert all(isnan(metrics[name]) for name in ("aligned", "conflicting", "align_conflict_harmonic"))


def test_worst_class() -> None:
    metrics = counts([[90, 1], [2, 40]], [[100, 10], [10, 50]]).metrics()
    assert metrics["worst_class"] == pytest.approx(42 / 60)
    assert counts([[5, 0], [0, 0]], [[10, 0], [0, 0]]).metrics()["worst_class"] == 0.5  # of the classes there are


def weighted(train: list[list[int]] | None, total: list[list[int]]) -> float:
    table = numpy.array(total)
    correct = numpy.minimum([[9, 1], [2, 8]], table)
    sizes = None if train is None else numpy.array(train)
    return GroupCounts(correct, table, ALIGNED, train=sizes).metrics()["train_weighted"]


def test_groups_weighted_as_in_training() -> None:
    """Waterbirds' average: here of groups of 10, by the sizes of its training groups."""
    tens = [[10, 10], [10, 10]]
    expected = (3_498 * 0.9 + 184 * 0.1 + 56 * 0.2 + 1_057 * 0.8) / 4_795
    assert weighted([[3_498, 184], [56, 1_057]], tens) == pytest.approx(expected)
    assert weighted([[1, 0], [0, 1]], [[10, 0], [0, 10]]) == pytest.approx(0.85)
    assert isnan(weighted([[1, 1], [0, 1]], [[10, 0], [0, 10]]))  # a group of the training images is not evaluated
    assert isnan(weighted(None, tens))
    assert isnan(weighted([[0, 0], [0, 0]], tens))


def test_the_worst_intersection_of_several_attributes() -> None:
    # one class, two attributes of two values: 00 01 10 11
    total, correct = numpy.array([[10, 10, 10, 10]]), numpy.array([[10, 5, 5, 0]])
    groups = GroupCounts(correct, total, numpy.ones((1, 4), dtype=bool), attribute_sizes=(2, 2))
    metrics = groups.metrics()
    assert (metrics["worst_group"], metrics["worst_intersection"]) == (0.25, 0)
    few = GroupCounts(correct, numpy.array([[10, 10, 10, 3]]), groups.aligned, (2, 2), min_group=5)
    assert few.metrics()["worst_intersection"] == 0.5


def test_several_attributes_are_averaged_and_small_groups_left_out() -> None:
    # two classes, attributes of 2 and 3 values: columns 00 01 02 10 11 12
    total = numpy.array([[10, 10, 0, 10, 10, 1], [20, 0, 0, 0, 0, 0]])
    correct = numpy.array([[10, 0, 0, 5, 5, 0], [10, 0, 0, 0, 0, 0]])
    counts = GroupCounts(correct, total, numpy.zeros((2, 6), dtype=bool), (2, 3), min_group=2)
    first = (10 / 20 + 10 / 21 + 10 / 20) / 3  # cells (0, 0), (0, 1), (1, 0)
    second = (15 / 20 + 5 / 20 + 10 / 20) / 3  # (0, 0), (0, 1), (1, 0); (0, 2) has one sample
    assert counts.metrics()["unbiased"] == pytest.approx((first + second) / 2)
    assert counts.metrics()["worst_group"] == 0.25
