"""Every method with its networks in bfloat16 and with channels last; all but the networks stays float32."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import Method
from debiaslab.settings.setup import Setup
from tests.methods.building import Watch, build, first_batches, short_setup, trainer
from tests.methods.test_contract import assert_same, data, name, setup  # noqa: F401 (fixtures: every method)

BF16 = {"precision": "bf16"}
BOTH = {"precision": "bf16", "channels_last": True}


def with_settings(setup: Setup, settings: Mapping[str, Any]) -> Setup:  # noqa: F811
    return replace(setup, run=replace(setup.run, **settings))


def steps(method: Method, data: BiasedDataset, phase: int, count: int) -> list[dict[str, Tensor]]:  # noqa: F811
    """What the first steps of a phase tell; the modules are in their modes."""
    method.eval()
    for module in method.phases()[phase].training:
        module.train()
    update = method.phases()[phase].update
    return [update(batch) for batch in first_batches(method, data, count, phase)]


def test_steps_in_bf16_are_near_those_in_float32(setup: Setup, data: BiasedDataset) -> None:  # noqa: F811
    for phase in range(len(build(setup, data).phases())):
        exact = steps(build(setup, data), data, phase, 1)[0]
        method = build(with_settings(setup, BF16), data)
        told = steps(method, data, phase, 4)
        assert torch.allclose(told[0]["loss"], exact["loss"], rtol=0.02, atol=0.02)
        assert not torch.equal(told[0]["loss"], exact["loss"])  # the setting is not ignored
        for scalars in told:
            assert all(value.dtype == torch.float32 and value.isfinite() for value in scalars.values())
        for tensor in [*method.state_dict().values(), *(p.grad for p in method.parameters() if p.grad is not None)]:
            assert tensor.dtype == torch.float32 or not tensor.is_floating_point()
            assert tensor.isfinite().all()


def test_logits_and_features_are_float32(setup: Setup, data: BiasedDataset) -> None:  # noqa: F811
    exact, method = (build(with_settings(setup, settings), data).eval() for settings in ({}, BF16))
    image = data.test.all_images()[:50].float() / 255
    for ours, theirs in zip(method.phases(), exact.phases(), strict=True):
        for found, wanted in (
            (ours.logits(image), theirs.logits(image)),
            (ours.features(image), theirs.features(image)),
        ):
            for branch, values in found.items():
                assert values.dtype == torch.float32
                assert torch.allclose(values, wanted[branch], rtol=0.05, atol=0.05)


def convolutional(data_root: Path, method: str = "rebias", **settings: Any) -> Setup:
    """A short run of a method with convolutions on the coloured digits."""
    return with_settings(short_setup(method, data_root), settings)


def test_channels_last_is_a_layout_and_nothing_else(data_root: Path, digits: BiasedDataset) -> None:
    plain = build(convolutional(data_root), digits)
    method = build(convolutional(data_root, channels_last=True), digits)
    assert_same(dict(method.state_dict()), dict(plain.state_dict()))
    weights = [
        module.weight for module in method.modules() if isinstance(module, nn.Conv2d) and module.kernel_size > (1, 1)
    ]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert not any(weight.is_contiguous() for weight in weights)
    found, wanted = (steps(each, digits, 0, 3) for each in (method, plain))
    for ours, theirs in zip(found, wanted, strict=True):
        assert all(torch.allclose(ours[key], theirs[key], rtol=1e-3, atol=1e-5) for key in theirs)
    for weight in weights:
        assert weight.grad is not None
        assert weight.grad.is_contiguous(memory_format=torch.channels_last)


def test_the_feature_map_has_channels_last(data_root: Path, digits: BiasedDataset) -> None:
    method = build(convolutional(data_root, channels_last=True), digits)
    encoder = next(module for module in method.modules() if hasattr(module, "feature_map"))
    feature_map = encoder.feature_map(torch.rand(5, 3, 8, 8))  # type: ignore[operator]
    assert feature_map.is_contiguous(memory_format=torch.channels_last)
    assert not feature_map.is_contiguous()


def test_networks_without_convolutions_refuse_channels_last(data_root: Path, digits: BiasedDataset) -> None:
    with pytest.raises(UserError, match="channels_last=True: model MLP has no convolutions of images; leave it out"):
        build(convolutional(data_root, "erm", channels_last=True), digits)


def test_an_unknown_precision_is_refused_with_the_nearest_name(data_root: Path) -> None:
    with pytest.raises(UserError, match="unknown precision 'bf61'; did you mean 'bf16'\\? one of bf16, float32"):
        convolutional(data_root, precision="bf61")


@pytest.mark.parametrize(
    ("method", "settings"),
    [("denetdm", BF16), ("disent_be", BF16), ("rebias", BOTH), ("learned_mixin", {"channels_last": True})],
)
def test_stop_and_resume_is_exact(
    data_root: Path, digits: BiasedDataset, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    """Interrupted in the last phase, after an evaluation; of few images, as convolutions in bf16 are slow on a CPU."""
    data = replace(digits.limit(30), train=digits.train.select(torch.arange(100)))  # noqa: F811
    chosen = with_settings(short_setup(method, data_root, num_steps=12, batch_size=20), settings)
    whole, network = Watch(), build(chosen, data)
    expected = trainer(chosen, network, data, whole).fit()

    checkpoint = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trainer(chosen, build(chosen, data), data, Watch(interrupt_at=whole.updates - 3), checkpoint).fit()
    again = build(chosen, data)
    resumed = trainer(chosen, again, data, Watch())
    resumed.restore(checkpoint)
    assert 0 < resumed.phase_step < 12
    outcome = resumed.fit()

    assert outcome.history == expected.history
    assert_same(outcome.selected, expected.selected)
    assert_same(dict(again.state_dict()), dict(network.state_dict()))
