"""Group DRO, balanced sampling and the bias-balanced loss; the phases' choice of images."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import METHODS, Batch, Method, Task
from debiaslab.methods.balancing import balanced_subset, one_over_size
from debiaslab.methods.group_dro import group_means
from debiaslab.models import Networks
from debiaslab.models.mlp import MLP
from debiaslab.training.batches import Batches
from tests.methods.building import build, short_setup

TARGET = torch.tensor([0] * 60 + [1] * 12)
BIAS = torch.tensor([0] * 50 + [1] * 10 + [0] * 4 + [1] * 8)


def made(name: str, target: torch.Tensor = TARGET, bias: torch.Tensor | None = BIAS, **hparams: Any) -> Any:
    networks = Networks(MLP(widths=(4,), input_scale=1.0), (3, 2, 2), 2, seed=1)
    hparams = {"epochs": 2, "batch_size": 16} | hparams
    return METHODS[name](METHODS[name].Config(**hparams), networks, Task(2, target, 1, bias, 2))


def epoch_of(method: Method, data: BiasedDataset, number: int = 0) -> list[torch.Tensor]:
    """The positions of the batches of one epoch."""
    (phase,) = method.phases()
    batches = Batches(data, replace(phase, num_steps=None, epochs=number + 1), 1, method.needs_bias)
    first = number * batches.steps_per_epoch
    return [plan.index for plan, _ in zip(batches.plans(first), range(batches.steps_per_epoch), strict=False)]


def test_the_task_tells_the_bias_only_to_a_method_that_needs_it(data_root: Path, digits: BiasedDataset) -> None:
    tasks = {name: short_setup(name, data_root)._task(digits) for name in ("rwg", "rwy")}
    assert tasks["rwy"].train_bias is None
    assert tasks["rwy"].group_counts().tolist() == [[0]] * 10
    assert tasks["rwg"].group_counts().equal(digits.groups(digits.train).bincount(minlength=100).view(10, 10))
    assert tasks["rwg"].train_groups().equal(digits.groups(digits.train))


@pytest.mark.parametrize("name", ["rwg", "rwy", "group_dro"])
def test_drawn_epochs_are_balanced(name: str, data_root: Path, digits: BiasedDataset) -> None:
    train = digits.train
    kept = ((train.target > 0) | (torch.arange(len(train)) % 4 == 0)).nonzero()[:, 0]
    data = replace(digits, train=train.select(kept))
    method = build(short_setup(name, data_root), data)
    drawn = torch.cat([index for number in range(20) for index in epoch_of(method, data, number)])
    assert len(drawn) == 20 * len(kept)
    group = data.groups(data.train) if METHODS[name].needs_bias else data.train.target
    found, sizes = group[drawn].bincount().double(), group.bincount()
    assert sizes[sizes > 0].max() > 3 * sizes[sizes > 0].min()
    shares = found[sizes > 0] / len(drawn) * int((sizes > 0).sum())
    assert (shares - 1).abs().max() < 0.2
    again = torch.cat([index for number in range(20) for index in epoch_of(method, data, number)])
    assert torch.equal(drawn, again)


def test_without_reweighting_each_image_comes_once(data_root: Path, digits: BiasedDataset) -> None:
    method = build(short_setup("group_dro", data_root, reweight_groups=False), digits)
    assert sorted(torch.cat(epoch_of(method, digits)).tolist()) == list(range(len(digits.train)))


def test_subsets_have_as_many_of_each_as_the_smallest() -> None:
    by_class, by_group = (method.phases()[0].positions for method in (made("suby"), made("subg")))
    assert by_class is not None
    assert by_group is not None
    assert TARGET[by_class()].bincount().tolist() == [12, 12]
    assert (2 * TARGET + BIAS)[by_group()].bincount().tolist() == [4, 4, 4, 4]
    assert len(set(by_group().tolist())) == 16
    assert not torch.equal(balanced_subset(TARGET, 2, seed=1), balanced_subset(TARGET, 2, seed=2))


def test_subg_refuses_empty_groups(data_root: Path, digits: BiasedDataset) -> None:
    with pytest.raises(UserError, match=r"all 100 \(target, bias\) groups, and 66 .*; use method=rwg"):
        build(short_setup("subg", data_root), digits)


def test_weights_are_one_over_the_size() -> None:
    assert one_over_size(torch.tensor([0, 2, 2, 2, 2])).tolist() == [1, 0.25, 0.25, 0.25, 0.25]
    assert group_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2, 2, 0]), 4).tolist() == [5, 0, 2, 0]


def test_group_dro_leaves_empty_groups_out_and_follows_the_worst() -> None:
    bias = torch.zeros_like(BIAS)
    method = made("group_dro", bias=bias, step_size=1.0)
    assert method.group_weight.tolist() == [0.5, 0, 0.5, 0]
    image = torch.rand(len(TARGET), 3, 2, 2, generator=torch.Generator().manual_seed(1))
    batch = Batch(image, TARGET, torch.arange(len(TARGET)), 0, bias)
    for _ in range(3):
        losses = method.losses(batch)
        group_loss = group_means(
            torch.nn.functional.cross_entropy(method.classifier(image), TARGET, reduction="none"), 2 * TARGET, 4
        )
        assert losses["loss"].item() == pytest.approx((method.group_weight @ group_loss).item())
    assert method.group_weight.sum().item() == pytest.approx(1)
    assert method.group_weight.argmax() == group_loss.argmax()
    assert method.group_weight[[1, 3]].tolist() == [0, 0]


def test_without_growth_group_dro_is_the_mean_over_groups() -> None:
    method = made("group_dro", step_size=0.0)
    generator = torch.Generator().manual_seed(1)
    group = 2 * TARGET + BIAS
    places = torch.cat([torch.argwhere(group == number)[:4, 0] for number in range(4)])
    image = torch.rand(len(places), 3, 2, 2, generator=generator)
    losses = method.losses(Batch(image, TARGET[places], places, 0, BIAS[places]))
    assert losses["loss"].item() == pytest.approx(losses["cross_entropy"].item())


def test_an_adjustment_adds_to_small_groups() -> None:
    assert made("group_dro", adjustment=2.0).penalty.tolist() == pytest.approx([2 / n**0.5 for n in (50, 10, 4, 8)])


def test_the_prior_is_that_of_the_bias_class() -> None:
    prior = made("bias_balance").log_prior.exp()
    assert prior.tolist() == [pytest.approx([50 / 54, 10 / 18]), pytest.approx([4 / 54, 8 / 18])]


def test_epochs_of_chosen_images(data_root: Path, digits: BiasedDataset) -> None:
    """Images may be left out or come several times, each time with an augmentation of its own."""
    positions = torch.cat([torch.arange(100), torch.zeros(29, dtype=torch.int64)])
    (plain,) = build(short_setup("erm", data_root), digits).phases()
    phase = replace(plain, positions=lambda: positions, batch_size=32, num_steps=None, epochs=2)
    batches = Batches(digits, phase, 1, with_bias=False)
    assert (batches.steps_per_epoch, batches.num_steps) == (4, 8)  # the last batch would be a single image
    batches.num_draws = 1
    plans = list(batches.plans(0))
    epochs = [Counter(torch.cat([plan.index for plan in plans[k : k + 4]]).tolist()) for k in (0, 4)]
    assert all(epoch.total() == 128 and epoch[0] in (29, 30) and max(epoch) == 99 for epoch in epochs)
    draws = [float(draw) for plan in plans[:4] if plan.draws is not None for draw in plan.draws[plan.index == 0]]
    assert len(set(draws)) == len(draws) > 28
    assert [plan.index.tolist() for plan in batches.plans(3)] == [plan.index.tolist() for plan in plans[3:]]
