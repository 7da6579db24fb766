from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from debiaslab.core.errors import UserError
from debiaslab.core.settings import settings
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.methods import Batch, Task
from debiaslab.methods.end import EnD, cosines, disentangling_loss, entangling_loss
from debiaslab.methods.erm import ERM
from debiaslab.models import Architecture, Encoder, Networks
from debiaslab.models.mlp import MLP, MLPEncoder


def samples(size: int, num_classes: int = 4, num_biases: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    features = normalize(torch.randn(size, 5, generator=generator), dim=1)
    target = torch.randint(num_classes, (size,), generator=generator)
    return features, target, torch.randint(num_biases, (size,), generator=generator)


def naive_disentangle(cosine: Tensor, bias: Tensor) -> float:
    total, num_pairs = 0.0, 0
    for label in set(bias.tolist()):
        members = [i for i, value in enumerate(bias.tolist()) if value == label]
        values = [float(cosine[i, j]) for i in members for j in members if i > j]
        total, num_pairs = total + abs(sum(values)), num_pairs + len(values)
    return total / num_pairs if num_pairs else 0.0


def naive_entangle(cosine: Tensor, target: Tensor, bias: Tensor) -> float:
    values = [
        (1 + float(cosine[i, j])) / 2
        for i in range(len(target))
        for j in range(i)
        if target[i] == target[j] and bias[i] < bias[j]
    ]
    return 1 - sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("size", [2, 3, 7, 30, 64])
def test_losses_equal_loops_over_pairs(size: int) -> None:
    features, target, bias = samples(size)
    bias[bias == 1] = 7  # a class is missing, and labels may be any number
    cosine = cosines(features)
    assert disentangling_loss(cosine, bias).item() == pytest.approx(naive_disentangle(cosine, bias), abs=1e-6)
    assert entangling_loss(cosine, target, bias).item() == pytest.approx(naive_entangle(cosine, target, bias), abs=1e-6)


@pytest.mark.parametrize(
    ("target", "bias"),
    [([3], [1]), ([0, 1, 2], [0, 1, 2]), ([0, 0], [1, 0])],
    ids=["one sample", "nothing shared", "order without pair"],
)
def test_without_a_pair_the_losses_are_zero(target: list[int], bias: list[int]) -> None:
    raw = torch.randn(len(target), 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cosine = cosines(normalize(raw, dim=1))
    # the pair of the last case has b_1 < b_0, and counts; turned round, it does not
    entangle = entangling_loss(cosine, torch.tensor(target), torch.tensor(bias[::-1]))
    disentangle = disentangling_loss(cosine, torch.tensor(bias))
    (entangle + disentangle).backward()  # type: ignore[no-untyped-call]
    assert (entangle.item(), disentangle.item()) == (0.0, 0.0)
    assert raw.grad is not None
    assert raw.grad.equal(torch.zeros_like(raw))


def batch_of(data: BiasedDataset, size: int, step: int = 0) -> Batch:
    index = torch.arange(step * size, (step + 1) * size)
    train = data.train
    return Batch(as_input(train.all_images()[index]), train.target[index], index, step, train.bias[index])


def end(data: BiasedDataset, alpha: float, beta: float) -> EnD:
    config = EnD.Config(alpha=alpha, beta=beta, weight_decay=1e-4)
    return EnD(config, Networks(MLP(widths=(16,)), (3, 28, 28), 10, seed=1), Task(10, data.train.target, seed=1))


class NormalizedMLPEncoder(MLPEncoder):
    def forward(self, image: Tensor) -> Tensor:
        return normalize(super().forward(image), dim=1)


class NormalizedMLP(Architecture):
    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        return NormalizedMLPEncoder(image_shape, (16,), 1.0)


def test_without_its_losses_it_is_erm_on_normalised_features(digits: BiasedDataset) -> None:
    """Update for update, bit for bit."""
    ours = end(digits, alpha=0.0, beta=0.0)
    networks = Networks(NormalizedMLP(), (3, 28, 28), 10, seed=1)
    erm = ERM(ERM.Config(weight_decay=1e-4), networks, Task(10, digits.train.target, seed=1))
    for step in range(5):
        batch = batch_of(digits, 32, step)
        assert ours.phases()[0].update(batch)["loss"].equal(erm.phases()[0].update(replace(batch, bias=None))["loss"])
    for mine, theirs in zip(ours.parameters(), erm.parameters(), strict=True):
        assert mine.equal(theirs)


def test_the_bias_labels_matter(digits: BiasedDataset) -> None:
    assert EnD.needs_bias
    batch = batch_of(digits, 32)
    assert batch.bias is not None
    methods = [end(digits, alpha=1.0, beta=1.0) for _ in range(2)]
    methods[0].phases()[0].update(batch)
    methods[1].phases()[0].update(replace(batch, bias=batch.bias.flip(0)))
    assert (
        not methods[0].encoder.state_dict()["layers.0.weight"].equal(methods[1].encoder.state_dict()["layers.0.weight"])
    )


def test_a_batch_of_one(digits: BiasedDataset) -> None:
    method = end(digits, alpha=1.0, beta=1.0)
    scalars = method.phases()[0].update(batch_of(digits, 1))
    assert scalars["disentangle"] == scalars["entangle"] == 0
    assert all(parameter.isfinite().all() for parameter in method.parameters())


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match=r"^method\.hparams\.beta=-1\.0: must be 0 or more$"):
        settings(EnD.Config, {"beta": -1}, "method.hparams.")
