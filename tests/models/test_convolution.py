"""Convolutions of small maps: PyTorch's, by another way where the result is one pixel."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from debiaslab.models import Networks, architecture
from debiaslab.models.convolution import Conv2d, with_small_maps

ONE_PIXEL: list[tuple[tuple[int, int], dict[str, Any]]] = [
    ((1, 1), {"kernel_size": 3, "padding": 1}),
    ((2, 2), {"kernel_size": 3, "padding": 1, "stride": 2}),
    ((5, 5), {"kernel_size": 5}),
    ((1, 1), {"kernel_size": 1}),
    ((1, 2), {"kernel_size": (3, 4), "padding": (1, 2), "stride": (1, 3)}),
    ((4, 4), {"kernel_size": 7, "padding": 3, "stride": 4}),
]
MORE: list[tuple[tuple[int, int], dict[str, Any]]] = [
    ((2, 2), {"kernel_size": 3, "padding": 1}),  # four places
    ((1, 2), {"kernel_size": 3, "padding": 1}),
    ((3, 3), {"kernel_size": 3, "padding": 1, "stride": 4}),  # one place, which does not see the whole map
    ((3, 3), {"kernel_size": 3, "padding": "same"}),
    ((3, 3), {"kernel_size": 2, "dilation": 2}),
    ((1, 1), {"kernel_size": 3, "padding": 1, "groups": 2}),
    ((2, 2), {"kernel_size": 3, "padding": 1, "stride": 2, "padding_mode": "reflect"}),
]


def gradients(layer: nn.Module, image: Tensor) -> list[Tensor]:
    """The result, and the gradients of a weighted sum of it by image and parameters."""
    result = layer(image)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1), dtype=result.dtype)
    return [result, *torch.autograd.grad((weights * result).sum(), [image, *layer.parameters()])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("size", "settings"), ONE_PIXEL + MORE)
def test_the_same_result_and_gradients_as_pytorchs(size: tuple[int, int], settings: dict[str, Any], bias: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(4, 6, **settings, bias=bias, dtype=torch.float64)
    image = torch.randn(3, 4, *size, dtype=torch.float64, requires_grad=True)
    expected = gradients(theirs, image)
    layer = with_small_maps(theirs)
    assert isinstance(layer, Conv2d)
    assert layer.makes_one_pixel(size) == ((size, settings) in ONE_PIXEL)
    for ours, their in zip(gradients(layer, image), expected, strict=True):
        assert ours.shape == their.shape
        torch.testing.assert_close(ours, their, rtol=1e-12, atol=1e-12)


def test_a_map_with_its_channels_last() -> None:
    layer = Conv2d(4, 6, 3, stride=2, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(3, 4, 2, 2)
    there = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(there), nn.Conv2d.forward(layer, image))


def test_the_last_layers_of_resnet18_on_small_images_are_products() -> None:
    encoder = Networks(architecture("resnet18", {}), (3, 32, 32), 10, seed=1).encoder("main").eval()
    sizes: dict[str, tuple[int, int]] = {}
    layers = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Conv2d)}

    def note(name: str) -> Any:
        return lambda _, inputs: sizes.__setitem__(name, tuple(inputs[0].shape[-2:]))

    for name, layer in layers.items():
        layer.register_forward_pre_hook(note(name))
    encoder(torch.zeros(1, 3, 32, 32))
    products = {
        name for name, layer in layers.items() if isinstance(layer, Conv2d) and layer.makes_one_pixel(sizes[name])
    }
    shortcut = {"body.layer4.0.downsample.0"}  # a 1x1 kernel on one pixel of four
    assert products == {name for name in layers if "layer4" in name} - shortcut
