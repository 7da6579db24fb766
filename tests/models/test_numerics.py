"""All architectures compute as they are told. Methods are tested in tests/methods/test_numerics.py."""

import pytest
import torch
from torch import Tensor, nn

from debiaslab.core.errors import UserError
from debiaslab.models import MODELS, Networks, architecture
from debiaslab.models.base import Encoder
from debiaslab.models.numerics import PRECISIONS, Numerics

HPARAMS = {"timm": {"name": "test_vit"}}  # where the defaults name no network
SAME = {"resnet50", "vit_b_16", "convnext_tiny"}  # the same encoder as timm's and ResNet-18's, around other layers
LEFT_OUT = {*SAME, "linear"}  # which computes nothing
NETWORKS = [(name, role) for name, cls in MODELS.items() if name not in LEFT_OUT for role in cls.roles or ("any",)]


def image_shape(name: str, role: str) -> tuple[int, ...]:
    """As small as the network takes: convolutions in bf16 are slow on a CPU."""
    made = architecture(name, HPARAMS.get(name, {}))
    size = max(16 if name == "timm" else 8, made.smallest_image(role))
    return (3, 2, size, size) if made.takes_clips else (3, size, size)


def encoder_of(name: str, role: str, numerics: Numerics) -> Encoder:
    return Networks(
        architecture(name, HPARAMS.get(name, {})), image_shape(name, role), 10, seed=1, numerics=numerics
    ).encoder(role)


def some_images(name: str, role: str) -> Tensor:
    return torch.rand(2, *image_shape(name, role), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "role"), NETWORKS)
def test_every_encoder_computes_in_bf16_and_returns_float32(name: str, role: str) -> None:
    exact, encoder = (encoder_of(name, role, Numerics(precision)).eval() for precision in ("float32", "bf16"))
    images = some_images(name, role)
    found, wanted = encoder.feature_map(images), exact.feature_map(images)
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)
    assert torch.allclose(found, wanted, rtol=0.05, atol=0.05 * float(wanted.detach().abs().max()))
    encoder.pool(found).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None or parameter.grad.dtype == torch.float32 for parameter in encoder.parameters())
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(("name", "role"), NETWORKS)
def test_every_network_of_images_with_convolutions_takes_channels_last(name: str, role: str) -> None:
    if not any(isinstance(module, nn.Conv2d) for module in encoder_of(name, role, Numerics()).modules()):
        with pytest.raises(UserError, match=r"channels_last=True: model \w+ has no convolutions of images"):
            encoder_of(name, role, Numerics(channels_last=True))
        return
    encoder, exact = (encoder_of(name, role, Numerics(channels_last=layout)).eval() for layout in (True, False))
    layouts: list[bool] = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda module, inputs, output: layouts.append(output.is_contiguous(memory_format=torch.channels_last))
            )
    images = some_images(name, role)
    assert torch.allclose(encoder(images), exact(images), rtol=1e-3, atol=1e-4)
    assert layouts
    assert all(layouts)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_heads(precision: str) -> None:
    networks = Networks(architecture("mlp", {}), (3, 8, 8), 10, seed=1, numerics=Numerics(precision))
    head, features = networks.head("head", 6), torch.rand(4, 6)
    logits = head(features)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, logits.bfloat16().float()) == (precision == "bf16")
    assert set(head.state_dict()) == {"weight", "bias"}
