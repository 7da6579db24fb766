from dataclasses import replace
from pathlib import Path

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.core.settings import setting_names
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.methods.erm import ERM
from debiaslab.methods.jtt import JTT
from debiaslab.settings.setup import Setup
from debiaslab.training.batches import Batches
from tests.methods.building import build, first_batches, short_setup, trained


def as_erm(setup: Setup) -> Setup:
    """ERM with the same networks and settings."""
    shared = {name: getattr(setup.method_config, name) for name in setting_names(ERM.Config)}
    return replace(setup, method=ERM, method_config=ERM.Config(**shared))


def test_the_first_training_is_that_of_erm(digits: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("jtt", data_root)
    jtt, erm = build(setup, digits), build(as_erm(setup), digits)
    assert isinstance(jtt, JTT)
    assert isinstance(erm, ERM)
    for batch in first_batches(erm, digits, 10):
        assert torch.equal(jtt.phases()[0].update(batch)["loss"], erm.phases()[0].update(batch)["loss"])
    assert torch.equal(jtt.identifier.head.weight, erm.classifier.head.weight)


def test_without_copies_the_second_training_is_erm(digits: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("jtt", data_root, copies=0)
    (jtt, outcome), (erm, expected) = trained(setup, digits), trained(as_erm(setup), digits)
    second = [evaluation for evaluation in outcome.history.evaluations if evaluation.phase == "train"]
    assert [evaluation.losses for evaluation in second] == [
        evaluation.losses for evaluation in expected.history.evaluations
    ]
    assert all(torch.equal(jtt.state_dict()[name], weights) for name, weights in erm.state_dict().items())


def test_the_error_set_and_its_copies(digits: BiasedDataset, data_root: Path) -> None:
    method, outcome = trained(short_setup("jtt", data_root, identify_epochs=3, copies=4), digits)
    assert isinstance(method, JTT)
    with torch.no_grad():
        wrong = method.eval().identifier(as_input(digits.train.all_images())).argmax(dim=1) != digits.train.target
    assert 0 < int(wrong.sum()) < len(wrong)
    assert torch.equal(method.wrong, wrong)

    batches = Batches(digits, method.phases()[1], 1, False)
    seen = torch.cat([plan.index for plan, _ in zip(batches.plans(0), range(batches.steps_per_epoch), strict=False)])
    assert torch.equal(seen.bincount(minlength=len(wrong)), 1 + 4 * wrong.long())

    conflicting = ~digits.aligned_samples(digits.train)
    first, last = outcome.history.evaluations[0], outcome.history.evaluations[-1]
    assert (first.phase, last.phase) == ("identify", "train")
    assert "conflicting/recall" not in first.diagnostics
    assert last.diagnostics["conflicting/recall"] == pytest.approx(float(wrong[conflicting].float().mean()))


def test_one_length_of_the_first_training(data_root: Path) -> None:
    with pytest.raises(UserError, match="identify_epochs=2: must be set, or identify_steps, not both"):
        short_setup("jtt", data_root, identify_steps=5)
    with pytest.raises(UserError, match="copies=-1: must be 0 or more"):
        short_setup("jtt", data_root, copies=-1)
