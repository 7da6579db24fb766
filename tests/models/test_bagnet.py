import pytest
import torch
from torch import nn

from debiaslab.core.errors import UserError
from debiaslab.models import Networks, architecture
from debiaslab.models.bagnet import BagNet18, BagNetBlock
from debiaslab.models.resnet import ResNetBody

SHAPE = (3, 64, 64)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def block(fan_in: int, fan_out: int, kernel: int = 1, shortcut: bool = True) -> int:
    """Weights of the convolutions, and two numbers for each channel of a batch norm."""
    return fan_in * fan_out * kernel**2 + fan_out**2 + 4 * fan_out + shortcut * (fan_in * fan_out + 2 * fan_out)


def test_size() -> None:
    stem = 3 * 64 + 64 * 64 * 9 + 2 * 64
    layers = block(64, 64, 3) + block(64, 64, shortcut=False)
    layers += sum(block(w, 2 * w) + block(2 * w, 2 * w, shortcut=False) for w in (64, 128, 256))
    assert parameters(BagNet18().encoder("g", SHAPE)) == stem + layers == 1_476_288


def test_shapes_and_settings() -> None:
    encoder = BagNet18().encoder("g", SHAPE)
    assert encoder.feature_map(torch.rand(2, 3, 224, 224)).shape == (2, 512, 28, 28)
    assert encoder(torch.rand(2, *SHAPE)).shape == (2, encoder.feature_dim) == (2, 512)
    convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    assert [c.kernel_size[0] for c in convolutions if c.kernel_size[0] > 1] == [3, 3]
    assert all(c.padding == (0, 0) for c in convolutions)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == [0.001] + [0.1] * (len(norms) - 1)


def test_it_sees_patches_of_5x5_pixels() -> None:
    encoder = BagNet18().encoder("g", SHAPE).eval()
    image = torch.rand(1, *SHAPE, requires_grad=True)
    encoder.feature_map(image)[0, :, 3, 4].sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    rows, columns = (image.grad.abs().sum(dim=(0, 1)) > 0).nonzero().unbind(1)
    assert (rows.min().item(), rows.max().item()) == (3 * 8, 3 * 8 + 4)
    assert (columns.min().item(), columns.max().item()) == (4 * 8, 4 * 8 + 4)


def test_the_shortcut_is_cropped_at_the_end() -> None:
    block = BagNetBlock(4, 4, stride=1, kernel=3).eval()
    nn.init.zeros_(block.bn2.weight)  # the residual is 0
    x = torch.rand(2, 4, 6, 6)
    assert block(x).equal(x[:, :, :4, :4])


def test_the_pair_of_rebias() -> None:
    pair = architecture("resnet18_bagnet18", {})
    assert pair.roles == ("f", "g")
    assert isinstance(pair.encoder("f", SHAPE).get_submodule("body"), ResNetBody)
    assert parameters(pair.encoder("g", SHAPE)) == 1_476_288


def test_smallest_image() -> None:
    networks = Networks(architecture("bagnet18", {}), (3, 4, 9), 2, seed=1)
    with pytest.raises(UserError, match="at least 5x5 pixels for its 'g' network, and these have 4x9"):
        networks.encoder("g")
    assert BagNet18().encoder("g", SHAPE).eval()(torch.rand(1, 3, 5, 5)).shape == (1, 512)
    with pytest.raises(RuntimeError):
        BagNet18().encoder("g", SHAPE).eval()(torch.rand(1, 3, 4, 4))
