from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods.ecs_ga import ECSGA, gradient_alignment_weights, peer_picking_weights
from debiaslab.training.batches import Batches
from tests.methods.building import build, first_batches, short_setup, trained


def ecs_ga(digits: BiasedDataset, data_root: Path) -> ECSGA:
    method = build(short_setup("ecs_ga", data_root, batch_size=64), digits)
    assert isinstance(method, ECSGA)
    return method


def test_images_that_both_networks_find_easy_are_picked() -> None:
    target = torch.tensor([0, 0, 0, 0, 1])
    probability = torch.tensor([[0.8, 0.8, 0.1, 0.1, 0.01], [0.1, 0.2, 0.2, 0.01, 0.5]])
    picked = torch.tensor([[1.0, 1, 0, 0, 1], [1, 1, 0, 0, 1]])  # above half of the largest of the class
    assert torch.equal(
        peer_picking_weights(-probability.log(), target, 0.1, False), picked.index_fill(1, torch.tensor(2), 1)
    )
    alone = torch.tensor([[-1e-4, 1, 0, 0, 1], [0, 1, -1e-4, 0, 1]])
    torch.testing.assert_close(peer_picking_weights(-probability.log(), target, 0.5, True), alone)


def test_the_gradients_of_hard_and_easy_images_are_aligned() -> None:
    losses, hard = torch.tensor([2.0, 0.5, 0.1, 0.01, 3.0]), torch.tensor([True, False, False, False, True])
    weight, size = gradient_alignment_weights(losses, hard, 1.6), 1 - (-losses).exp()
    assert float(weight.mean()) == pytest.approx(1)
    assert float((weight * size)[hard].sum()) == pytest.approx(1.6 * float((weight * size)[~hard].sum()), rel=1e-5)
    assert gradient_alignment_weights(losses, hard & False, 1.6).tolist() == [0] * 5


def test_images_are_scored_after_each_epoch_in_eval_mode(digits: BiasedDataset, data_root: Path) -> None:
    """And after the last step, which is in the third epoch."""
    method, outcome = trained(short_setup("ecs_ga", data_root, score_steps=45), digits)
    assert isinstance(method, ECSGA)
    assert int(method.scored_epochs) == 3
    evaluations = [evaluation for evaluation in outcome.history.evaluations if evaluation.phase == "score"]
    assert [evaluation.phase_step for evaluation in evaluations] == [19, 38, 45]
    scores = method.scores()
    assert torch.equal(method.hard, scores >= method.config.hard_score)
    assert float(scores.min()) > 0
    assert float(scores.max()) < 1


def test_batches_have_some_hard_images(digits: BiasedDataset, data_root: Path) -> None:
    method = ecs_ga(digits, data_root)
    phase = method.phases()[1]
    assert len(method.hard) == 1_200
    method.hard[:70] = True
    method.is_scored.fill_(True)
    drawn = torch.cat([plan.index for plan in Batches(digits, phase, 1, False).plans(0)])
    assert float((drawn < 70).float().mean()) == pytest.approx(4 / 64, abs=0.02)
    notes = method.sample_notes()
    assert notes.weight is not None
    assert float(notes.weight[:70].mean() / notes.weight.mean()) == pytest.approx(4 / 64 / (70 / 1_200), rel=1e-3)


def test_without_hard_images_it_is_erm(digits: BiasedDataset, data_root: Path) -> None:
    method = ecs_ga(digits, data_root)
    (batch,) = first_batches(method, digits, 1)
    expected = cross_entropy(method.classifier(batch.image), batch.target)
    torch.testing.assert_close(method.losses(batch)["loss"], expected)
    assert len(set(method.sampling_weights().tolist())) == 1


def test_wrong_settings_are_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match=r"eta=1\.0: must be 0 or more, below 1"):
        short_setup("ecs_ga", data_root, eta=1.0)
    with pytest.raises(UserError, match="score_epochs=3: must be set, or score_steps, not both"):
        short_setup("ecs_ga", data_root, score_steps=3, score_epochs=3)
