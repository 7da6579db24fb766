from pathlib import Path
from typing import Any

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods.bias_balance import EPSILON, BiasBalance
from debiaslab.methods.lc import LC, choose_partners, logit_correction_loss, moving_averages
from tests.methods.building import build, first_batches, short_setup

TARGET = torch.tensor([0, 1, 0, 0, 1, 1, 1])


def lc(digits: BiasedDataset, data_root: Path, **hparams: Any) -> LC:
    method = build(short_setup("lc", data_root, **hparams), digits)
    assert isinstance(method, LC)
    return method


def test_with_the_true_bias_it_is_the_bias_balanced_loss(
    digits: BiasedDataset, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of P(y | b), the bias labels for b, and images that are not mixed."""
    monkeypatch.setattr("debiaslab.methods.lc.EPSILON", EPSILON)
    balanced, method = build(short_setup("bias_balance", data_root), digits), lc(digits, data_root)
    assert isinstance(balanced, BiasBalance)
    method.table.copy_(balanced.log_prior.exp() - EPSILON)
    for batch in first_batches(balanced, digits, 5):
        assert batch.bias is not None
        logits = balanced.classifier(batch.image)
        ours = logit_correction_loss(logits, batch.target, method.correction(batch.bias)).mean()
        torch.testing.assert_close(ours, balanced.losses(batch)["loss"])


def test_the_table_takes_one_image_after_the_other() -> None:
    cell, values = torch.tensor([1, 0, 1, 3, 1]), torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])
    old, filled = torch.tensor([0.5, 0.0, 0.7, 0.1]), torch.tensor([True, False, True, True])
    expected, seen = old.clone(), filled.clone()
    for place, value in zip(cell.tolist(), values.tolist(), strict=True):
        decay = 0.9 if seen[place] else 0.0
        expected[place] = decay * expected[place] + (1 - decay) * value
        seen[place] = True
    torch.testing.assert_close(moving_averages(old, filled, cell, values, 0.9), expected)


@pytest.mark.parametrize(("average", "share"), [("batch", 1.0), ("mv_batch", 0.1)])
def test_averages_over_batches(digits: BiasedDataset, data_root: Path, average: str, share: float) -> None:
    hparams: dict[str, Any] = {} if average == "batch" else {"ema_alpha": 0.9}
    method = lc(digits, data_root, avg_type=average, **hparams)
    (batch,) = first_batches(method, digits, 1)
    logits = torch.zeros(len(batch.target), 10)
    logits[:, 3] = 2.0
    method.table.fill_(0.5)
    assert (method.observe(batch, logits) == 3).all()
    probability = logits.softmax(dim=1)[0]
    for target in range(10):
        count = int((batch.target == target).sum())
        mean = count * float(probability[target]) / (count + 1e-4)
        assert float(method.table[target, 3]) == pytest.approx((1 - share) * 0.5 + share * mean, abs=1e-6)
        assert float(method.table[target, 4]) == pytest.approx((1 - share) * 0.5)
    notes = method.sample_notes().conflicting
    assert notes is not None
    assert int(notes.sum()) == int((batch.target != 3).sum())


def test_partners_are_conflicting_images_of_the_class() -> None:
    conflicting = torch.tensor([False, False, True, True, False, False, False])
    generator = torch.Generator().manual_seed(0)
    drawn = [choose_partners(TARGET, conflicting, torch.rand(2, 7, generator=generator)) for _ in range(40)]
    assert {int(partner) for partners in drawn for partner in partners[TARGET == 0]} == {2, 3}
    without = torch.stack([partners[TARGET == 1] for partners in drawn])
    assert (without.sort(dim=1).values == torch.tensor([1, 4, 5, 6])).all()  # permuted, each time
    assert len({tuple(row) for row in without.tolist()}) > 10


def test_mixtures_grow(digits: BiasedDataset, data_root: Path) -> None:
    at_once, later = lc(digits, data_root), lc(digits, data_root, curr_step=20, num_steps=40)
    shares = [at_once.share(step) for step in range(50)]
    assert 0 <= min(shares) < 0.1
    assert 0.4 < max(shares) <= 0.5
    assert later.share(0) > 0.99
    assert [later.share(step) for step in (20, 21)] == shares[20:22]


def test_wrong_settings_are_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match="avg_type='ema': must be one of mv, mv_batch, batch"):
        short_setup("lc", data_root, avg_type="ema")
    with pytest.raises(UserError, match=r"ema_alpha=0\.5 has no effect with method\.hparams\.avg_type=batch"):
        short_setup("lc", data_root, avg_type="batch", ema_alpha=0.5)
