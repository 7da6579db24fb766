from math import isnan

import numpy
import pytest

from training.metrics import METRICS, GroupCounts

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
