"""How findings are compared with known bias labels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from debiaslab.auditing.findings import Verification, compare_with_bias
from debiaslab.auditing.images import read_images
from debiaslab.auditing.scoring import Scores
from debiaslab.auditing.verdict import Verdict
from debiaslab.datasets import BiasedDataset, dataset_config


@pytest.fixture(scope="module")
def data(data_root: Path) -> BiasedDataset:
    return dataset_config({"name": "digits", "root": str(data_root), "skew": 0.05}).load()


def compare(data: BiasedDataset, missed: int = 0) -> Verification:
    """Compare a correct verdict, but for `missed` conflicting images, with the bias labels of `data`."""
    images = read_images(data)
    conflicting = images.conflicting.clone()
    conflicting[conflicting.nonzero()[:missed, 0]] = False
    found = Verdict("", conflicting, images.bias, torch.zeros_like(conflicting), int(conflicting.sum()), None)
    probability = torch.zeros(len(images), images.num_classes)
    verification = compare_with_bias(data, images, Scores(images.conflicting.float(), probability, probability), found)
    assert verification is not None
    return verification


def test_precision_and_recall_are_those_of_the_proposed_training_images(data: BiasedDataset) -> None:
    count = int((~data.aligned_samples(data.train)).sum())
    assert compare(data) == Verification(count, 1.0, 1.0, 1.0, 1.0)
    verification = compare(data, missed=5)
    assert (verification.precision, verification.average_precision) == (1.0, 1.0)
    assert verification.recall == pytest.approx(1 - 5 / count)


def test_an_inferred_class_is_no_bias_where_biases_are_numbered_otherwise(data: BiasedDataset) -> None:
    train = replace(data.train, bias=9 - data.train.bias)
    other = replace(data, train=train, aligned=torch.eye(10, dtype=torch.bool).flip(0))
    verification = compare(other)
    assert (verification.precision, verification.recall) == (1.0, 1.0)
    assert verification.bias_accuracy is None
