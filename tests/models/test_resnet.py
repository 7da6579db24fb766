import pytest
import torch
from torch import nn

from debiaslab.core.vision import torchvision
from debiaslab.models import architecture
from debiaslab.models.resnet import BasicBlock, ResNet18, ResNet20


def test_resnet20_is_that_of_he_et_al() -> None:
    encoder = ResNet20().encoder("classifier", (3, 32, 32))
    convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 19  # and the head
    head = nn.Linear(encoder.feature_dim, 10)
    assert sum(p.numel() for part in (encoder, head) for p in part.parameters()) == 269_722  # "0.27M", table 6
    assert encoder.feature_map(torch.rand(2, 3, 32, 32)).shape == (2, 64, 8, 8)
    assert encoder(torch.rand(2, 3, 28, 28)).shape == (2, 64)


def test_resnet20_starts_with_he_initialisation() -> None:
    torch.manual_seed(0)
    encoder = ResNet20().encoder("classifier", (3, 32, 32))
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels >= 16:
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)


def test_the_shortcut_subsamples_and_adds_zero_channels() -> None:
    block = BasicBlock(4, 8, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)  # the residual is 0
    x = torch.rand(2, 4, 6, 6)
    y = block(x)
    assert y[:, 2:6].equal(x[:, :, ::2, ::2])
    assert y[:, :2].abs().max() == 0
    assert y[:, 6:].abs().max() == 0


def test_resnet18_is_torchvisions_without_its_last_layer() -> None:
    encoder = ResNet18().encoder("classifier", (3, 64, 64)).eval()
    assert encoder.feature_dim == 512
    whole = torchvision("models").resnet18(weights=None).eval()
    body = {name.removeprefix("body."): value for name, value in encoder.state_dict().items()}
    missing = whole.load_state_dict(body, strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    whole.fc = nn.Identity()
    image = torch.rand(2, 3, 64, 64)
    assert encoder(image).allclose(whole(image), atol=1e-5)


def test_resnet18_has_torchvisions_size_and_takes_small_images() -> None:
    encoder = ResNet18().encoder("classifier", (3, 32, 32))
    head = nn.Linear(encoder.feature_dim, 1000)
    assert sum(p.numel() for part in (encoder, head) for p in part.parameters()) == 11_689_512
    assert encoder.feature_map(torch.rand(2, 3, 32, 32)).shape == (2, 512, 1, 1)


@pytest.mark.parametrize("fixed", [True, False])
def test_a_frozen_network(fixed: bool) -> None:
    """It does not learn; its batch norm keeps its statistics, or goes on with those of the batches."""
    encoder = ResNet18(frozen=True, fixed_statistics=fixed).encoder("classifier", (3, 32, 32))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    encoder.train()
    assert encoder.get_submodule("body.bn1").training != fixed
    image = torch.rand(4, 3, 32, 32)
    before = encoder.get_buffer("body.bn1.running_mean").clone()
    features = encoder(image)
    assert features.grad_fn is None
    assert encoder.get_buffer("body.bn1.running_mean").equal(before) == fixed
    assert features.allclose(encoder.eval()(image)) == fixed


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_every_role_gets_the_same_architecture(name: str) -> None:
    model = architecture(name, {})
    assert model.roles is None
    for role in ("f", "classifier"):
        assert model.encoder(role, (3, 32, 32)).eval()(torch.rand(1, 3, 32, 32)).shape[0] == 1
