from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods.disent import DisEnt
from tests.methods.building import build, first_batches, short_setup


def disent(digits: BiasedDataset, data_root: Path, seed: int = 1, **hparams: Any) -> DisEnt:
    method = build(short_setup("disent", data_root, seed, **hparams), digits)
    assert isinstance(method, DisEnt)
    return method


def test_no_swapping_up_to_curr_step(digits: BiasedDataset, data_root: Path) -> None:
    method = disent(digits, data_root, curr_step=2, lambda_swap=0.5)
    for batch in first_batches(method, digits, 5):
        terms = {name: value.item() for name, value in method.update(batch).items()}
        before = terms["dis_conflict"] + terms["dis_align"]
        swapped = terms["swap_conflict"] + terms["swap_align"]
        assert (swapped > 0) == (batch.step > 2)
        assert terms["loss"] == pytest.approx(before + 0.5 * swapped)


@pytest.mark.parametrize(("curr_step", "decay_step"), [(0, 1), (0, 3), (4, 3), (7, 5), (30, 5)])
def test_learning_rate_is_that_of_a_step_lr_stepped_from_curr_step_on(
    digits: BiasedDataset, data_root: Path, curr_step: int, decay_step: int
) -> None:
    method = disent(digits, data_root, curr_step=curr_step, lr_decay_step=decay_step, lr_gamma=0.3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = StepLR(optimizer, decay_step, gamma=0.3)
    for step in range(25):
        optimizer.step()
        assert method.learning_rate_factor(step, 7) == pytest.approx(optimizer.param_groups[0]["lr"])
        if step >= curr_step:
            scheduler.step()


def test_no_decay(digits: BiasedDataset, data_root: Path) -> None:
    method = disent(digits, data_root, lr_decay_step=None)
    assert method.learning_rate_factor(10**6, 7) == 1


def test_each_branch_learns_from_its_own_losses_only(digits: BiasedDataset, data_root: Path) -> None:
    method = disent(digits, data_root, lambda_dis_align=0.0, lambda_swap_align=0.0, curr_step=0)
    bias = [*method.bias_encoder.parameters(), *method.bias_head.parameters()]
    intrinsic = [*method.intrinsic_encoder.parameters(), *method.intrinsic_head.parameters()]
    before = [parameter.detach().clone() for parameter in (*bias, *intrinsic)]
    for batch in first_batches(method, digits, 3):
        method.update(batch)
    moved = [not torch.equal(old, new) for old, new in zip(before, (*bias, *intrinsic), strict=True)]
    assert moved == [False] * len(bias) + [True] * len(intrinsic)


def test_permutation_is_a_function_of_seed_and_step(digits: BiasedDataset, data_root: Path) -> None:
    method, same, other = disent(digits, data_root), disent(digits, data_root), disent(digits, data_root, seed=2)
    first, second = first_batches(method, digits, 2)
    order = method.permutation(first)
    assert sorted(order.tolist()) == list(range(len(first.index)))
    assert torch.equal(order, same.permutation(first))
    assert not torch.equal(order, method.permutation(second))
    assert not torch.equal(order, other.permutation(first))


def test_a_batch_without_a_kept_sample_trains_the_debiased_branch_only(digits: BiasedDataset, data_root: Path) -> None:
    method = disent(digits, data_root, curr_step=0)
    method.kept = torch.zeros(len(digits.train), dtype=torch.bool)
    before = [parameter.detach().clone() for parameter in method.bias_encoder.parameters()]
    for batch in first_batches(method, digits, 3):
        terms = method.update(batch)
        assert terms["dis_align"] == terms["swap_align"] == 0
        assert terms["dis_conflict"] > 0
    assert all(torch.isfinite(tensor).all() for tensor in method.state_dict().values())
    assert all(torch.equal(old, new) for old, new in zip(before, method.bias_encoder.parameters(), strict=True))


def test_the_kept_mask_follows_the_swapped_features(digits: BiasedDataset, data_root: Path) -> None:
    """With one kept sample, the swapped loss of the bias branch is that of the pair in which it gives the bias."""
    method = disent(digits, data_root, curr_step=0)
    batch = replace(first_batches(method, digits, 1)[0], step=1)
    method.kept = torch.zeros(len(digits.train), dtype=torch.bool)
    method.kept[batch.index[5]] = True
    with torch.no_grad():
        intrinsic, bias = method.intrinsic_encoder(batch.image), method.bias_encoder(batch.image)
        receiver = method.permutation(batch).tolist().index(5)
        logits = method.bias_head(torch.cat([intrinsic[receiver], bias[5]]))
        expected = method.config.lambda_swap_align * torch.nn.functional.cross_entropy(logits, batch.target[5])
    assert method.update(batch)["swap_align"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_settings_out_of_range_are_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match="lr_decay_step=0: must be positive, or None"):
        short_setup("disent", data_root, lr_decay_step=0)
    with pytest.raises(UserError, match="curr_step=-1"):
        short_setup("disent", data_root, curr_step=-1)
