import json
import zlib
from base64 import b64decode, b64encode
from math import isnan, log
from typing import Any

import numpy
import pytest
import torch
from sklearn.metrics import f1_score, log_loss

from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.counting import measure_split, measure_splits
from debiaslab.evaluation.outcomes import OUTCOME_METRICS, Outcomes, read_outcomes, tabulate_outcomes

NO_PAIRS = numpy.zeros((2, 2), dtype=bool)


def tabulated(group: Any, predicted: Any, confidence: Any, aligned: Any = NO_PAIRS, shape: Any = (2, 2)) -> Outcomes:
    arrays = numpy.array(group, dtype=int), numpy.array(predicted, dtype=int), numpy.array(confidence, dtype=float)
    return tabulate_outcomes(arrays[0], shape, arrays[1], arrays[2], -numpy.log(arrays[2]), aligned)


def test_calibration_by_hand() -> None:
    # bins of 1/15: two images with confidence 0.9, one of them right; one with 0.6, right
    metrics = tabulated([0, 1, 2], [0, 1, 1], [0.9, 0.9, 0.6]).metrics()
    assert metrics["ece"] == pytest.approx((abs(1 - 1.8) + abs(1 - 0.6)) / 3)
    assert metrics["nll"] == pytest.approx(-(2 * log(0.9) + log(0.6)) / 3)
    assert isnan(metrics["ece_conflicting"])  # no pair is the usual one


def test_calibration_of_conflicting_images() -> None:
    usual = numpy.eye(2, dtype=bool)
    metrics = tabulated([0, 1, 3], [0, 1, 1], [1.0, 0.75, 1.0], usual).metrics()
    assert metrics["ece_conflicting"] == pytest.approx(0.75)  # group 1: target 0, bias 1, predicted as 1
    assert metrics["ece"] == pytest.approx(0.25)


def test_fairness_by_hand() -> None:
    # target 0: bias 0 is predicted 0, 0; bias 1 0, 1. target 1: bias 0 is predicted 1; bias 1 1, 1
    group, predicted = [0, 0, 1, 1, 2, 3, 3], [0, 0, 0, 1, 1, 1, 1]
    metrics = tabulated(group, predicted, [1.0] * 7).metrics()
    assert metrics["demographic_parity"] == pytest.approx(3 / 4 - 1 / 3)
    assert metrics["equalised_odds"] == pytest.approx(1 / 2)
    one_bias = tabulated([0, 2], [0, 1], [1.0, 1.0]).metrics()
    assert isnan(one_bias["demographic_parity"])
    assert isnan(one_bias["equalised_odds"])


def test_without_images_nothing_is_known() -> None:
    assert all(isnan(value) for value in tabulated([], [], []).metrics().values())


def test_networks_are_measured_as_scikit_learn_does(digits: BiasedDataset) -> None:
    target = digits.test.target
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.eye(10)[target] + torch.randn(len(target), 10, generator=generator)
    position = iter(torch.split(scores, 2_000))
    counts, outcomes = measure_split(lambda image: {"one": next(position)}, digits.test, digits)
    metrics, predicted = outcomes.metrics(), scores.argmax(dim=1)
    assert metrics["f1"] == pytest.approx(f1_score(target, predicted, average="macro"))
    assert metrics["nll"] == pytest.approx(log_loss(target, scores.double().softmax(dim=1)), rel=1e-5)
    diagonal = outcomes.predictions[numpy.arange(10), :, numpy.arange(10)]
    assert (diagonal == counts["one"].correct).all()
    confidence = scores.double().softmax(dim=1).amax(dim=1)
    expected = 0.0
    for lower in range(15):
        chosen = (confidence > lower / 15) & (confidence <= (lower + 1) / 15)
        if chosen.any():
            gap = (predicted[chosen] == target[chosen]).double().mean() - confidence[chosen].mean()
            expected += float(gap.abs() * chosen.double().mean())
    assert metrics["ece"] == pytest.approx(expected)


def test_they_are_read_as_they_were_written(digits: BiasedDataset) -> None:
    measured = measure_splits(lambda image: {"one": image.mean(dim=(2, 3)) @ torch.eye(3, 10)}, digits)
    total = numpy.array(
        torch.bincount(digits.groups(digits.test), minlength=100).view(10, 10).tolist(), dtype=numpy.int64
    )
    found = read_outcomes(json.loads(json.dumps(measured.outcomes["test"])), total)
    assert (found.predictions.sum(axis=2) == total).all()
    assert found.as_dict() == measured.outcomes["test"]


def test_an_evaluation_of_ten_by_ten_groups_is_small() -> None:
    generator = numpy.random.default_rng(0)
    aligned = numpy.eye(10, dtype=bool)
    size = 0
    for images in (5_000, 10_000):
        group = generator.integers(0, 100, images)
        predicted = numpy.where(generator.random(images) < 0.6, group // 10, generator.integers(0, 10, images))
        confidence = generator.random(images)
        outcomes = tabulate_outcomes(group, (10, 10), predicted, confidence, -numpy.log(confidence), aligned)
        size += len(json.dumps(outcomes.as_dict()))
    assert size < 5_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": "?"}, "cannot be read"),
        ({"predictions": b64encode(b"no zlib").decode()}, "cannot be read"),
        ({"predictions": b64encode(zlib.compress(bytes(10**7))).decode()}, "cannot be read"),
        ({"predictions": b64encode(zlib.compress(bytes(32))).decode()}, "not of the groups"),
        ({"bins": [[[0] * 15] * 3]}, "not of the images"),
        ({"bins": [[[3] + [0] * 14, [9] + [0] * 14, [0] * 15]]}, "cannot be"),
        ({"bins": "many"}, "cannot be read"),
        ({"nll": -1.0}, "log loss"),
        ({"nll": "small"}, "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    values = tabulated([0, 1, 3], [0, 1, 1], [0.5, 0.75, 1.0]).as_dict()
    total = numpy.array([[1, 1], [0, 1]])
    assert b64decode(values["predictions"])
    assert set(read_outcomes(values, total).metrics()) == set(OUTCOME_METRICS)
    with pytest.raises(ValueError, match=message):
        read_outcomes(values | change, total)
    with pytest.raises(ValueError, match="not of an evaluation"):
        read_outcomes({}, total)
