from pathlib import Path

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods.lff import LfF
from debiaslab.methods.losses import bias_amplifying_loss, generalized_cross_entropy, masked_mean
from tests.methods.building import build, first_batches, short_setup, trained


def logits_and_target() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(20, 5, generator=generator), torch.randint(5, (20,), generator=generator)


def test_generalized_cross_entropy_has_the_gradient_of_its_definition() -> None:
    """(1 - p^q) / q, Zhang and Sabuncu (2018), times q."""
    logits, target = logits_and_target()
    logits.requires_grad_()
    q = 0.7
    (ours,) = torch.autograd.grad(generalized_cross_entropy(logits, target, q).sum(), logits)
    probability = logits.softmax(dim=1).gather(1, target[:, None])
    (definition,) = torch.autograd.grad((1 - probability**q).sum(), logits)
    torch.testing.assert_close(ours, definition)


def test_generalized_cross_entropy_tends_to_q_times_cross_entropy() -> None:
    logits, target = logits_and_target()
    ce = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(generalized_cross_entropy(logits, target, 1e-6) / 1e-6, ce, rtol=1e-4, atol=1e-5)


def test_generalized_cross_entropy_of_a_hopeless_sample_is_finite() -> None:
    logits = torch.tensor([[0.0, 300.0]], requires_grad=True)
    loss = generalized_cross_entropy(logits, torch.tensor([0]), 0.7)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_masked_mean_counts_the_kept_only() -> None:
    values = torch.tensor([1.0, 2.0, float("inf"), 6.0], requires_grad=True)
    masked = masked_mean(values, torch.tensor([True, False, False, True]))
    masked.backward()  # type: ignore[no-untyped-call]
    assert masked.item() == 3.5
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0, 0, 0.5]


def test_masked_mean_of_nothing_is_zero_without_gradient() -> None:
    values = torch.tensor([1.0, float("inf")], requires_grad=True)
    masked = masked_mean(values, torch.tensor([False, False]))
    masked.backward()  # type: ignore[no-untyped-call]
    assert masked.item() == 0
    assert values.grad is not None
    assert values.grad.tolist() == [0, 0]


def test_kept_samples_take_cross_entropy() -> None:
    logits, target = logits_and_target()
    kept = torch.arange(20) < 4
    expected = torch.nn.functional.cross_entropy(logits[:4], target[:4])
    torch.testing.assert_close(bias_amplifying_loss(logits, target, 0.7, kept), expected)


def test_equal_networks_weigh_every_sample_one_half(digits: BiasedDataset, data_root: Path) -> None:
    method = build(short_setup("lff", data_root), digits)
    assert isinstance(method, LfF)
    method.debiased.load_state_dict(method.biased.state_dict())
    (batch,) = first_batches(method, digits, 1)
    method.phases()[0].update(batch)
    assert method.difficulty.sample_weights()[batch.index].tolist() == pytest.approx([0.5] * len(batch.index))


def test_the_biased_network_fails_on_conflicting_samples_which_then_weigh_more(
    digits: BiasedDataset, data_root: Path
) -> None:
    method, outcome = trained(short_setup("lff", data_root, num_steps=600), digits)
    assert isinstance(method, LfF)
    last = outcome.history.evaluations[-1]
    biased, debiased = (
        outcome.history.counts(last, "test", branch).metrics()["conflicting"] for branch in ("biased", "debiased")
    )
    assert debiased > biased + 0.1
    assert last.diagnostics["weight/conflicting"] > 10 * last.diagnostics["weight/aligned"]
    assert last.diagnostics["conflicting/precision"] > 0.5
    notes = method.sample_notes()
    assert notes.weight is not None
    assert notes.conflicting is not None
    assert torch.equal(notes.conflicting, notes.weight > 0.5)
    assert set(last.losses) == {"loss", "biased", "debiased"}


def test_settings_out_of_range_are_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match=r"method\.hparams\.q=0\.0: must be above 0, at most 1"):
        short_setup("lff", data_root, q=0.0)
    with pytest.raises(UserError, match=r"ema_decay=1\.0"):
        short_setup("lff", data_root, ema_decay=1.0)
