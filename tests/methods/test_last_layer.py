"""Retraining of the last layer: DFR and AFR against independent computations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import METHODS, Batch, Task
from debiaslab.models import Networks
from debiaslab.models.mlp import MLP
from debiaslab.settings.setup import check
from debiaslab.training.batches import Batches
from tests.methods.building import build, first_batches, short_setup

NUM, SHAPE = 240, (3, 2, 2)


def made(name: str, num_classes: int, **hparams: Any) -> Any:
    networks = Networks(MLP(widths=(6,), input_scale=1.0), SHAPE, num_classes, seed=1)
    task = Task(num_classes, images(num_classes, 1).target, 1)
    return METHODS[name](METHODS[name].Config(**{"epochs": 1} | hparams), networks, task).eval()


def images(num_classes: int, seed: int) -> Batch:
    """Noise with a weak trace of the target in it, and a strong one of the bias, which agrees in 8 of 10."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(NUM) % num_classes
    agrees = torch.rand(NUM, generator=generator) < 0.8
    bias = torch.where(agrees, target, torch.randint(0, num_classes, (NUM,), generator=generator))
    image = torch.rand(NUM, *SHAPE, generator=generator)
    image[:, 0, 0, 0] += target / 2
    image[:, 1, 0, 0] += 2 * bias
    return Batch(image, target, torch.arange(NUM), 0, bias)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_dfr_is_the_mean_of_regressions_on_balanced_subsets(num_classes: int) -> None:
    method = made("dfr", num_classes, fits=3, penalties=(0.5,))
    training, validation = replace(images(num_classes, 1), bias=None), images(num_classes, 2)
    phase = method.phases()[-1]
    phase.begin(iter([training]), iter([validation]))
    drawn = []
    fit = method.fit

    def watched(subset: torch.Tensor, penalty: float, name: str) -> Any:
        drawn.append((penalty, name))
        return fit(subset, penalty, name)

    method.fit = watched
    encoder = method.classifier.encoder
    seen, own = encoder(training.image).detach(), encoder(validation.image).detach()
    mean, scale = seen.mean(dim=0), seen.std(dim=0)
    phase.update(training)
    assert drawn == [(0.5, "tuning"), (0.5, "fit 0"), (0.5, "fit 1"), (0.5, "fit 2")]

    from debiaslab.methods.balancing import balanced_subset

    assert validation.bias is not None
    _, group = (validation.target * num_classes + validation.bias).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    expected = torch.zeros(NUM, num_classes)
    for number in range(3):
        subset = balanced_subset(group, int(group.max()) + 1, 1, "retrain", f"fit {number}")
        assert len(set(group[subset].bincount().tolist())) == 1
        solver = "liblinear" if num_classes == 2 else "saga"
        one = LogisticRegression(l1_ratio=1.0, C=0.5, solver=solver, random_state=1, tol=1e-3)
        one.fit(((own - mean) / scale)[subset].double(), validation.target[subset])
        decision = torch.from_numpy(one.decision_function(((own - mean) / scale).double())).float()
        expected += (torch.stack([-decision, decision], dim=1) / 2 if num_classes == 2 else decision) / 3
    ours = method.predict(validation.image).detach()
    torch.testing.assert_close(ours.log_softmax(1), expected.log_softmax(1), rtol=1e-3, atol=1e-3)


def test_dfr_chooses_the_penalty_by_the_worst_group() -> None:
    method = made("dfr", 2, penalties=(1e-6, 1.0))
    method.phases()[-1].begin(iter([images(2, 1)]), iter([images(2, 2)]))
    assert method.choose_penalty() == 1.0  # the other one makes all weights zero


def test_dfr_needs_labelled_validation_images(data_root: Path, digits: BiasedDataset) -> None:
    setup = short_setup("dfr", data_root)
    data = setup.load_data()
    assert data.valid is not None
    published = check({**setup.config, "data": {**setup.config["data"], "protocol": "published"}, "selection": "last"})
    with pytest.raises(UserError, match="needs validation images with bias labels, and digits has no such images"):
        published.load_data()
    method = made("dfr", 2)
    valid = images(2, 2)
    few = replace(valid, target=torch.zeros_like(valid.target))
    with pytest.raises(UserError, match="class 1 has 0"):
        method.phases()[-1].begin(iter([images(2, 1)]), iter([few]))


def test_afr_is_weighted_gradient_descent_on_the_held_out_images() -> None:
    """Against the last layer as such, instead of a correction to it."""
    gamma, penalty, rate = 4.0, 0.1, 0.5
    method = made("afr", 3, gamma=gamma, penalty=penalty, retrain_learning_rate=rate, retrain_steps=20)
    batch = replace(images(3, 1), bias=None)
    phase = method.phases()[-1]
    phase.begin(iter([batch]), None)
    held = method.held
    features = method.classifier.encoder(batch.image).detach()[held]
    target = batch.target[held]
    start = [parameter.detach().clone() for parameter in method.classifier.head.parameters()]
    layer = [parameter.clone().requires_grad_() for parameter in start]
    probability = (features @ start[0].T + start[1]).softmax(1)[torch.arange(len(held)), target]
    weight = torch.exp(-gamma * probability) / target.bincount()[target]
    weight /= weight.sum()
    for _ in range(20):
        losses = cross_entropy(features @ layer[0].T + layer[1], target, reduction="none")
        distance = sum(((new - old) ** 2).sum() for new, old in zip(layer, start, strict=True))
        loss = (weight * losses).sum() + penalty * distance
        gradients = torch.autograd.grad(loss, layer)
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        with torch.no_grad():
            for parameter, gradient in zip(layer, gradients, strict=True):
                parameter -= rate * gradient * min(1.0, 1.0 / (float(norm) + 1e-6))
        ours = phase.update(batch)["loss"]
        torch.testing.assert_close(ours, loss.detach())
    expected = method.classifier.encoder(batch.image) @ layer[0].T + layer[1]
    torch.testing.assert_close(method.predict(batch.image), expected)


def test_afr_holds_images_out_of_the_training_of_the_network(data_root: Path, digits: BiasedDataset) -> None:
    method: Any = build(short_setup("afr", data_root, held_out=0.25), digits)
    phase = method.phases()[0]
    plans = Batches(digits, replace(phase, num_steps=None, epochs=1), 1, with_bias=False).plans(0)
    seen = torch.cat([plan.index for plan in plans])
    assert (len(method.held), len(seen)) == (300, 900)
    assert sorted([*seen.tolist(), *method.held.tolist()]) == list(range(1200))


@pytest.mark.parametrize("name", ["afr", "dfr"])
def test_retraining_leaves_the_encoder(name: str, data_root: Path, digits: BiasedDataset) -> None:
    method: Any = build(short_setup(name, data_root), digits)
    image = digits.test.all_images()[:50].float() / 255
    (batch,) = first_batches(method, digits, 1)
    assert len(batch.image) == 1  # the phase has the features of all from the beginning
    before, encoder = method.predict(image), method.classifier.encoder(image)
    method.phases()[-1].update(batch)
    assert method.classifier.encoder(image).equal(encoder)
    assert not method.predict(image).equal(before)


def test_retrain_only_needs_weights(data_root: Path) -> None:
    with pytest.raises(UserError, match=r"retrain_only=True needs trained weights; type .* retrain RUN"):
        short_setup("afr", data_root, retrain_only=True)
