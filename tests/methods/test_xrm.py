from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation.bias_labels import splits_read
from debiaslab.evaluation.selection import parse_rule
from debiaslab.methods.xrm import XRM, class_sum_of_means, flipped_labels
from debiaslab.settings.setup import Setup
from debiaslab.training.batches import Batches
from tests.methods.building import build, first_batches, short_setup, trained


def test_labels_flip_to_what_a_confident_network_predicts() -> None:
    logits = torch.tensor([[20.0, 0, 0], [0, 0, 0], [0.5, 0.25, 0.25]])
    logits[2] = logits[2].log()  # flips with probability (1/2 - 1/3) 3/2 = 1/4
    label = torch.tensor([1, 1, 1])
    assert flipped_labels(label, logits, torch.full((3,), 0.24)).tolist() == [0, 1, 0]
    assert flipped_labels(label, logits, torch.full((3,), 0.26)).tolist() == [0, 1, 1]


def test_the_loss_is_the_sum_of_the_means_of_the_classes() -> None:
    logits, label = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 2, 2])
    losses = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(class_sum_of_means(logits, label), losses[:3].mean() + losses[3:].mean())


def test_each_network_is_trained_on_its_half(digits: BiasedDataset, data_root: Path) -> None:
    method = build(short_setup("xrm", data_root), digits)
    assert isinstance(method, XRM)
    (batch,) = first_batches(method, digits, 1, phase=0)
    method.of_second.zero_()
    before = [own.head.weight.detach().clone() for own in (method.first, method.second)]
    method.phases()[0].update(batch)
    after = [own.head.weight for own in (method.first, method.second)]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [False, True]


def test_group_dro_on_the_groups_that_are_found(digits: BiasedDataset, data_root: Path) -> None:
    method, outcome = trained(short_setup("xrm", data_root, label_steps=150, adjustment=2.0), digits)
    assert isinstance(method, XRM)
    with torch.no_grad():
        image, target = as_input(digits.train.all_images()), digits.train.target
        wrong = [own(image).argmax(dim=1) != target for own in (method.eval().first, method.second)]
    assert torch.equal(method.mistaken, wrong[0] | wrong[1])
    assert 0 < int(method.mistaken.sum()) < len(target)
    counts = method.group_counts()
    torch.testing.assert_close(method.penalty, 2 / counts.clamp(min=1).float().sqrt())
    assert torch.equal(method.group_weight > 0, counts > 0)
    drawn = torch.cat([plan.index for plan in Batches(digits, method.phases()[1], 1, False).plans(0)])
    share = float((counts.view(-1, 2)[:, 1] > 0).sum() / (counts > 0).sum())
    assert float(method.mistaken[drawn].float().mean()) == pytest.approx(share, abs=0.06)
    flips = [evaluation.losses["flipped"] for evaluation in outcome.history.evaluations if evaluation.phase == "label"]
    assert 0 < flips[-1] < 1
    assert "conflicting/recall" in outcome.history.evaluations[-1].diagnostics


def test_selection_by_inferred_groups(digits: BiasedDataset, data_root: Path) -> None:
    assert digits.valid is not None
    method, outcome = trained(short_setup("xrm", data_root, label_steps=150), digits)
    assert isinstance(method, XRM)
    image, target = as_input(digits.valid.all_images()), digits.valid.target
    with torch.no_grad():
        wrong = [own(image).argmax(dim=1) != target for own in (method.eval().first, method.second)]
        right = method.predict(image).argmax(dim=1) == target
    group = 2 * target + (wrong[0] | wrong[1]).long()
    first, *_, last = outcome.history.evaluations
    assert first.phase == "label"
    assert not first.inferred
    assert last.inferred == {"correct": group[right].bincount().tolist(), "total": group.bincount().tolist()}
    rule = parse_rule("best_valid_inferred", True, "rule")
    accuracies = [float(right[group == number].float().mean()) for number in group.unique()]
    assert outcome.history.value(last, rule) == pytest.approx(min(accuracies))
    assert not splits_read(rule.name)


def test_only_methods_that_infer_groups_are_selected_by_them(data_root: Path) -> None:
    with pytest.raises(UserError, match="selection=best_valid_inferred: method erm infers no groups"):
        replaced_run(short_setup("erm", data_root), selection="best_valid_inferred").check_rules()
    replaced_run(short_setup("xrm", data_root), selection="best_valid_inferred").check_rules()


def replaced_run(setup: Setup, **settings: Any) -> Setup:
    return replace(setup, run=replace(setup.run, **settings))


def test_one_length_of_the_first_training(data_root: Path) -> None:
    with pytest.raises(UserError, match="label_epochs=2: must be set, or label_steps, not both"):
        short_setup("xrm", data_root, label_steps=2, label_epochs=2)
