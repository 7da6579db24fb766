"""Which scores make a shortcut, on real coloured digits whose scores are set by the test."""

from pathlib import Path

import pytest
import torch

from debiaslab.auditing.images import AuditImages, read_images
from debiaslab.auditing.scoring import Scores
from debiaslab.auditing.verdict import Verdict, judge
from debiaslab.datasets import dataset_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(data_root: Path) -> AuditImages:
    return read_images(dataset_config({"name": "digits", "root": str(data_root), "skew": 0.05}).load())


def judge_with(images: AuditImages, conflicting: float, aligned: float) -> Verdict:
    """The verdict if conflicting images score 1 and aligned ones 0, but one in ten `conflicting` and `aligned`."""
    score = images.conflicting.float()
    score[images.conflicting.nonzero()[::10, 0]] = conflicting
    score[(~images.conflicting).nonzero()[::10, 0]] = aligned
    probability = torch.zeros(len(images), images.num_classes)
    probability[torch.arange(len(images)), images.bias] = 1.0
    return judge(images, Scores(score, probability, probability), seed=1, device=CPU)


def test_images_contradicted_for_a_quarter_of_the_training_conflict(images: AuditImages) -> None:
    verdict = judge_with(images, conflicting=0.3, aligned=0.2)
    assert verdict.found, verdict.reason
    assert torch.equal(verdict.conflicting, images.conflicting)
    assert torch.equal(verdict.inferred_bias, images.bias)
    assert verdict.num_candidates == int(images.conflicting[: images.num_train].sum())


def test_images_of_all_difficulties_are_no_shortcut(images: AuditImages) -> None:
    verdict = judge_with(images, conflicting=0.7, aligned=0.3)
    assert verdict.reason.startswith("some images are hard, but no group stands out: ")
    assert not verdict.conflicting.any()
    assert torch.equal(verdict.inferred_bias, images.target)


def test_a_class_that_is_not_learned_is_no_shortcut(images: AuditImages) -> None:
    probability = torch.full((len(images), images.num_classes), 1 / images.num_classes)
    verdict = judge(images, Scores((images.target == 3).float(), probability, probability), seed=1, device=CPU)
    assert verdict.reason.startswith("a small network has not learned some of the classes: all of their images, ")
