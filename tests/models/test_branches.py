import pytest
import torch
from torch import nn

from debiaslab.core.errors import UserError
from debiaslab.models import Networks, architecture
from debiaslab.models.branches import NETWORKS, Projected
from debiaslab.models.resnet import ResNetBody


def kinds(module: nn.Module) -> list[str]:
    return [type(layer).__name__.rstrip("2d") for layer in module.modules() if not list(layer.children())]


def test_conv3_is_the_published_network() -> None:
    encoder = NETWORKS["conv3"].encoder("shallow", (3, 32, 32))
    shapes = [list(p.shape) for p in encoder.parameters() if p.dim() == 4]
    assert shapes == [[32, 3, 5, 5], [64, 32, 5, 5], [64, 64, 5, 5]]
    assert kinds(encoder) == ["Conv", "BatchNorm", "ReLU", "MaxPool"] * 2 + ["Conv", "BatchNorm", "ReLU"]
    image = torch.rand(2, 3, 32, 32)
    assert encoder.feature_map(image).shape == (2, 64, 1, 1)  # so that pooling is flattening
    assert encoder.eval()(image).equal(encoder.feature_map(image).flatten(1))


def test_conv4_is_the_published_network() -> None:
    encoder = NETWORKS["conv4"].encoder("shallow", (3, 224, 224))
    shapes = [list(p.shape) for p in encoder.parameters() if p.dim() == 4]
    assert shapes == [[64, 3, 7, 7], [128, 64, 3, 3], [512, 128, 3, 3], [512, 512, 3, 3]]
    norm_first, pool_first = ["Conv", "BatchNorm", "ReLU", "MaxPool"], ["Conv", "MaxPool", "BatchNorm", "ReLU"]
    assert kinds(encoder) == norm_first * 2 + pool_first + ["Conv", "BatchNorm", "ReLU"]
    with torch.no_grad():
        assert encoder.feature_map(torch.rand(1, 3, 224, 224)).shape == (1, 512, 23, 23)


@pytest.mark.parametrize(("name", "least"), [("conv3", 32), ("conv4", 42)])
def test_smallest_image(name: str, least: int) -> None:
    network = NETWORKS[name]
    assert network.smallest_image("shallow") == least
    encoder = network.encoder("shallow", (3, least, least)).eval()
    assert encoder.feature_map(torch.rand(1, 3, least, least)).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError):
        encoder(torch.rand(1, 3, least - 1, least))
    branches = architecture("conv_branches", {"shallow": name})
    with pytest.raises(UserError, match=f"at least {least}x{least} pixels for its 'shallow' network, and"):
        Networks(branches, (3, least - 1, least), 2, seed=1).encoder("shallow")


def test_branches_of_corrupted_cifar10() -> None:
    branches = architecture("conv_branches", {"shallow": "conv3", "deep": "resnet20", "width": 64})
    networks = Networks(branches, (3, 32, 32), 10, seed=1)
    image = torch.rand(2, 3, 32, 32)
    sizes = {}
    for role in ("shallow", "deep", "target"):
        encoder = networks.encoder(role)
        assert encoder(image).shape == (2, encoder.feature_dim) == (2, 64)
        sizes[role] = sum(parameter.numel() for parameter in encoder.parameters())
    conv3 = sum(25 * a * b + b + 2 * b for a, b in ((3, 32), (32, 64), (64, 64)))
    assert sizes == {"shallow": conv3, "deep": 269_722 - 650, "target": 11_689_512 - 513_000 + 512 * 64 + 64}
    target = networks.encoder("target")
    assert isinstance(target, Projected)
    assert target.feature_map(image).shape == (2, 64)  # nothing is pooled after the linear layer


def test_branches_of_photographs() -> None:
    networks = Networks(architecture("conv_branches", {}), (3, 48, 48), 2, seed=1)
    assert {networks.encoder(role).feature_dim for role in ("shallow", "deep", "target")} == {512}
    for role in ("deep", "target"):
        assert any(isinstance(module, ResNetBody) for module in networks.encoder(role).modules())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deep": "resnet50"}, "model.hparams.deep='resnet50': must be one of conv3, conv4, resnet20, resnet18"),
        ({"width": 0}, "model.hparams.width=0: must be positive"),
        (
            {"pretrained_roles": ["head"]},
            "model.hparams.pretrained_roles=('head',): must be among shallow, deep, target",
        ),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        architecture("conv_branches", settings)
    assert str(error.value) == message
