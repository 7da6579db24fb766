"""ReBias, and the methods that share its two networks: Vanilla & Biased, RUBi, LearnedMixin."""

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.methods import METHODS, Batch, Task
from debiaslab.methods.hsic import median_squared_distance
from debiaslab.methods.learned_mixin import LearnedMixin, mean_entropy
from debiaslab.methods.rebias import ReBias
from debiaslab.methods.rubi import RUBi
from debiaslab.methods.vanilla_biased import Outputs, VanillaBiased, outputs_of
from debiaslab.models import Architecture, Networks
from debiaslab.models.convolutional import SimpleConv
from debiaslab.models.mlp import MLP
from debiaslab.training.checkpoint import (
    add_prefix,
    load_optimizer,
    optimizer_tensors,
    read_checkpoint,
    without_prefix,
    write_checkpoint,
)

FAMILY = ("vanilla_biased", "rebias", "rubi", "learned_mixin")
SMALL = SimpleConv(widths=(4, 6), f_kernel=3)


def build(name: str, data: BiasedDataset, model: Architecture = SMALL, **hparams: Any) -> Any:
    cls = METHODS[name]
    networks = Networks(model, (3, 28, 28), 10, seed=1)
    return cls(cls.Config(**hparams), networks, Task(10, data.train.target, seed=1)).train()


def batch_of(data: BiasedDataset, size: int = 16, step: int = 0) -> Batch:
    index = torch.arange(step * size, (step + 1) * size)
    return Batch(as_input(data.train.all_images()[index]), data.train.target[index], index, step)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(value.equal(second[name]) for name, value in first.items())


def same_weights(module: nn.Module, state: dict[str, Tensor]) -> bool:
    """The running statistics of batch norm move without training."""
    return all(parameter.equal(state[name]) for name, parameter in module.named_parameters())


@pytest.mark.parametrize("name", ["rubi", "learned_mixin"])
def test_a_step_down_the_weighted_outer_loss(digits: BiasedDataset, name: str) -> None:
    """By hand: the weight multiplies the whole loss of f and its head, and the first step of SGD with it."""
    batch = batch_of(digits)
    method = build(name, digits, f_lambda_outer=2.5, optimizer="sgd", learning_rate=0.1, n_g_update=0)
    f, g = outputs_of(method.f, batch.image), method.g_outputs(batch.image)
    if name == "rubi":
        mask = method.head(g.features)
        outer = cross_entropy(f.logits * mask.sigmoid(), batch.target) + cross_entropy(mask, batch.target)
    else:
        added = softplus(method.head(f.features)) * g.logits
        entropy = -(added.softmax(dim=1) * added.log_softmax(dim=1)).sum(dim=1).mean()
        outer = cross_entropy(f.logits + added, batch.target) + 0.36 * entropy
    parameters = [*method.f.parameters(), *method.head.parameters()]
    expected = [
        parameter.detach() - 0.1 * 2.5 * gradient
        for parameter, gradient in zip(parameters, torch.autograd.grad(outer, parameters), strict=True)
    ]
    scalars = method.update(batch)
    torch.testing.assert_close(scalars["loss"], 2.5 * outer.detach())
    torch.testing.assert_close([parameter.detach() for parameter in parameters], expected)
    with pytest.raises(ValueError, match=r"f_lambda_outer=0\.0: must be positive"):
        METHODS[name].Config(f_lambda_outer=0.0)  # type: ignore[call-arg]


def test_with_zero_lambdas_it_is_vanilla_biased(digits: BiasedDataset) -> None:
    """Update for update, bit for bit."""
    rebias = build("rebias", digits, f_lambda=0.0, g_lambda=0.0, n_g_update=2)
    vanilla = build("vanilla_biased", digits, n_g_update=2)
    for step in range(4):
        batch = batch_of(digits, step=step)
        assert same(rebias.update(batch), vanilla.update(batch))
    for name in ("f", "g"):
        assert same(copied(getattr(rebias, name)), copied(getattr(vanilla, name)))


def test_f_is_trained_to_be_independent_of_g_and_g_to_follow_it(digits: BiasedDataset) -> None:
    batch = batch_of(digits, 64)
    hsic = {}
    for name, lambdas in {"none": (0.0, 0.0), "f": (100.0, 0.0), "g": (0.0, 100.0)}.items():
        method = build("rebias", digits, f_lambda=lambdas[0], g_lambda=lambdas[1], learning_rate=0.01, sigma=0.1)
        for _ in range(15):
            method.update(batch)
        hsic[name] = method.dependence(outputs_of(method.f, batch.image), outputs_of(method.g, batch.image)).item()
    assert hsic["f"] < 0.5 * hsic["none"] < hsic["none"] < 0.7 * hsic["g"]


def test_g_is_updated_n_times_then_f(digits: BiasedDataset) -> None:
    batch = batch_of(digits)
    twice = build("vanilla_biased", digits, n_g_update=2)
    twice.update(batch)
    once = build("vanilla_biased", digits)
    once.update(batch)
    f_after_one = copied(once.f)
    once.update(batch)
    assert same(copied(twice.g), copied(once.g))
    assert same(copied(twice.f), f_after_one)


@pytest.mark.parametrize("name", ["vanilla_biased", "rebias", "rubi"])
def test_without_updates_g_stays(digits: BiasedDataset, name: str) -> None:
    method = build(name, digits, n_g_update=0)
    f, g = copied(method.f), copied(method.g)
    scalars = method.update(batch_of(digits))
    assert "biased" not in scalars
    assert same_weights(method.g, g)
    assert not same_weights(method.f, f)
    assert set(method.phases()[-1].optimizers) == {"f"}


def test_the_losses_are_those_of_the_paper(digits: BiasedDataset) -> None:
    batch = batch_of(digits)
    method = build("rebias", digits, f_lambda=0.5, g_lambda=2.0)
    f, g = outputs_of(method.f, batch.image), outputs_of(method.g, batch.image)
    g_loss = cross_entropy(g.logits, batch.target) - 2 * method.dependence(f, g)
    scalars = method.update(batch)
    assert scalars["biased"].item() == pytest.approx(g_loss.item())
    g = outputs_of(method.g, batch.image)  # f sees the updated one
    f_loss = cross_entropy(f.logits, batch.target) + 0.5 * method.dependence(f, g)
    assert scalars["loss"].item() == pytest.approx(f_loss.item())
    assert scalars["loss"].item() == pytest.approx((scalars["cross_entropy"] + 0.5 * scalars["hsic"]).item())


@pytest.mark.parametrize(
    ("model", "widths"),
    [(SMALL, {"post": 6, "pre": 6 * 28 * 28, "logits": 10}), (MLP(widths=(8,)), {"post": 8, "pre": 8, "logits": 10})],
    ids=["simple_conv", "mlp"],
)
@pytest.mark.parametrize("position", ["post", "pre", "logits"])
def test_features(digits: BiasedDataset, model: Architecture, widths: dict[str, int], position: str) -> None:
    method = build("rebias", digits, model, features=position, sigma="median")
    batch = batch_of(digits, 5)
    outputs = outputs_of(method.f, batch.image)
    assert method.features_of(outputs).shape == (5, widths[position])
    assert outputs.logits.equal(method.f(batch.image))
    assert method.update(batch)["hsic"] != 0


# ---- sigma


def distances(method: ReBias, image: Tensor) -> Tensor:
    return torch.stack([median_squared_distance(outputs_of(net, image).features) for net in (method.f, method.g)])


def test_median_sigma(digits: BiasedDataset) -> None:
    """Over the first quarter of each epoch's batches: 1,200 images in batches of 150 are 8, of which 2 count."""
    method = build("rebias", digits, sigma="median", batch_size=150)
    assert method.steps_per_epoch == 8
    medians, sigmas = [], []
    for step in range(10):
        batch = batch_of(digits, 150, step % 8)
        medians.append(distances(method, batch.image))
        method.update(replace(batch, step=step))
        sigmas.append(torch.stack(method.sigmas()))
    assert sigmas[0].allclose(medians[0].sqrt())
    assert sigmas[1].allclose(((medians[0] + medians[1]) / 2).sqrt())
    assert all(sigma.equal(sigmas[1]) for sigma in sigmas[2:8])
    assert sigmas[8].allclose(medians[8].sqrt())
    assert sigmas[9].allclose(((medians[8] + medians[9]) / 2).sqrt())


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("sigma", [1.0, "median"])
def test_small_batches(digits: BiasedDataset, size: int, sigma: float | str) -> None:
    method = build("rebias", digits, sigma=sigma)
    scalars = method.update(batch_of(digits, size))
    assert (scalars["hsic"] == 0) == (size < 4)
    assert all(value.isfinite() for value in scalars.values())
    assert all(value.isfinite().all() for value in method.state_dict().values())


def test_features_that_are_all_the_same(digits: BiasedDataset) -> None:
    method = build("rebias", digits, sigma="median")
    batch = batch_of(digits)
    scalars = method.update(replace(batch, image=torch.zeros_like(batch.image)))
    assert all(value.isfinite() for value in scalars.values())
    assert all(parameter.isfinite().all() for parameter in method.parameters())


# ---- RUBi


def test_rubi_with_an_ignorant_head(digits: BiasedDataset) -> None:
    """A head of zeros masks all logits with 1/2 and predicts all classes alike."""
    method = build("rubi", digits)
    nn.init.zeros_(method.head.weight)
    nn.init.zeros_(method.head.bias)
    batch = batch_of(digits)
    f = outputs_of(method.f, batch.image)
    losses = method.f_losses(f, batch)
    assert losses["masked"].item() == pytest.approx(cross_entropy(f.logits / 2, batch.target).item())
    assert losses["head"].item() == pytest.approx(log(10), abs=1e-6)
    assert losses["loss"].item() == pytest.approx((losses["masked"] + losses["head"]).item())


def test_rubi_trains_g_by_its_cross_entropy_alone(digits: BiasedDataset) -> None:
    rubi, vanilla = build("rubi", digits), build("vanilla_biased", digits)
    for step in range(3):
        batch = batch_of(digits, step=step)
        assert rubi.update(batch)["biased"].equal(vanilla.update(batch)["biased"])
    assert same_weights(rubi.g, copied(vanilla.g))
    assert not same_weights(rubi.f, copied(vanilla.f))


# ---- LearnedMixin


def test_learned_mixin_trains_g_first_and_then_f(digits: BiasedDataset) -> None:
    method = build("learned_mixin", digits, pretrain_epochs=3)
    pretrain, train = method.phases()
    assert (pretrain.name, train.name) == ("pretrain", "train")
    assert (pretrain.epochs, train.epochs) == (3, 100)
    f, g = copied(method.f), copied(method.g)
    pretrain.update(batch_of(digits))
    assert same(copied(method.f), f)
    assert not same_weights(method.g, g)
    g = copied(method.g)
    train.update(batch_of(digits, step=1))
    assert same_weights(method.g, g)
    assert not same_weights(method.f, f)


def test_learned_mixin_pretrains_g_at_a_constant_rate(digits: BiasedDataset) -> None:
    pretrain, train = build("learned_mixin", digits, lr_schedule="cosine", epochs=10).phases()
    assert [pretrain.learning_rate_factor(step, 8) for step in (0, 40, 79)] == [1, 1, 1]
    assert train.learning_rate_factor(40, 8) == pytest.approx(0.5)


def test_learned_mixin_leaves_the_logits_of_g_alone(digits: BiasedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    method = build("learned_mixin", digits)
    batch = batch_of(digits)
    outputs = outputs_of(method.g, batch.image).detach()
    before = outputs.logits.clone()
    monkeypatch.setattr(method, "g_outputs", lambda image: outputs)
    method.update(batch)
    assert outputs.logits.equal(before)


def test_learned_mixin_without_the_contribution_of_g(digits: BiasedDataset) -> None:
    """Where the factor is 0, the loss is the cross-entropy of f, and the entropy is the largest."""
    method = build("learned_mixin", digits)
    nn.init.zeros_(method.head.weight)
    nn.init.constant_(method.head.bias, -100.0)
    batch = batch_of(digits)
    f = outputs_of(method.f, batch.image)
    losses = method.f_losses(f, batch)
    assert losses["ensemble"].item() == pytest.approx(cross_entropy(f.logits, batch.target).item())
    assert losses["loss"].item() == pytest.approx(losses["ensemble"].item() + 0.36 * log(10))


def test_mean_entropy() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    assert mean_entropy(probabilities.clamp(min=1e-30).log()).item() == pytest.approx(0.75 * log(2), abs=1e-6)


# ---- what they share


@pytest.mark.parametrize("name", ["rubi", "learned_mixin"])
def test_the_head_is_trained_unless_one_wants_the_published_behaviour(digits: BiasedDataset, name: str) -> None:
    for train_head in (True, False):
        method = build(name, digits, train_head=train_head)
        before = copied(method.head)
        method.update(batch_of(digits))
        assert same(copied(method.head), before) != train_head
        optimized = {id(p) for group in method.f_optimizer.param_groups for p in group["params"]}
        assert {id(p) for p in method.head.parameters()} <= optimized or not train_head
        trainable = [p for p in method.parameters() if p.requires_grad]
        everything = [p for o in (method.f_optimizer, method.g_optimizer) for p in o.param_groups[0]["params"]]
        assert sorted(map(id, everything)) == sorted(map(id, trainable))


@pytest.mark.parametrize("name", FAMILY)
def test_the_prediction_is_that_of_f(digits: BiasedDataset, name: str) -> None:
    method = build(name, digits).eval()
    image = batch_of(digits).image
    assert method.predict(image).equal(method.f(image))
    assert list(method.phases()[-1].logits(image)) == ["target", "biased"]
    assert not method.needs_bias


@pytest.mark.parametrize("optimizer", ["adam", "adamp"])
@pytest.mark.parametrize("name", FAMILY)
def test_a_saved_state_goes_on_bit_by_bit(digits: BiasedDataset, tmp_path: Path, name: str, optimizer: str) -> None:
    hparams: dict[str, Any] = {"optimizer": optimizer, "weight_decay": 0.01}
    if name == "rebias":
        hparams |= {"sigma": "median", "batch_size": 16}

    def phase_of(method: VanillaBiased) -> Any:
        return method.phases()[-1]

    first, second = build(name, digits, **hparams), build(name, digits, **hparams)
    for step in range(3):
        phase_of(first).update(batch_of(digits, step=step))
    tensors = add_prefix("method", first.state_dict())
    for key, part in phase_of(first).optimizers.items():
        tensors |= add_prefix(key, optimizer_tensors(part))
    write_checkpoint(tmp_path / "state.safetensors", tensors, {})
    tensors, _ = read_checkpoint(tmp_path / "state.safetensors")
    second.load_state_dict(without_prefix("method", tensors))
    for key, part in phase_of(second).optimizers.items():
        load_optimizer(part, without_prefix(key, tensors))
    for step in range(3, 6):
        batch = batch_of(digits, step=step)
        assert same(phase_of(first).update(batch), phase_of(second).update(batch))
    assert same(copied(first), copied(second))


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (ReBias, {"features": "mid"}, "features='mid': must be one of post, pre, logits"),
        (ReBias, {"hsic": "exact"}, "hsic='exact': must be one of unbiased, biased"),
        (ReBias, {"sigma": "mean"}, "sigma='mean': must be a positive number, or median"),
        (ReBias, {"sigma": 0.0}, "sigma=0.0: must be a positive number, or median"),
        (ReBias, {"f_lambda": -1.0}, "f_lambda=-1.0: must be 0 or more"),
        (VanillaBiased, {"n_g_update": -1}, "n_g_update=-1: must be 0 or more"),
        (RUBi, {"optimizer": "adamq"}, "optimizer='adamq': must be one of adam, adamp, adamw, sgd"),
        (LearnedMixin, {"entropy_weight": -0.1}, "entropy_weight=-0.1: must be 0 or more"),
        (LearnedMixin, {"pretrain_steps": 5}, "pretrain_epochs=5: must be set, or pretrain_steps, not both"),
    ],
)
def test_settings_are_checked(config: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        config.Config(**settings)


def test_outputs_are_detached_as_a_whole() -> None:
    outputs = Outputs(*(torch.ones(2, requires_grad=True) * 2 for _ in range(3)))
    assert not any(part.requires_grad for part in outputs.detach())
