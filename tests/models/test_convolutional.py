import pytest
import torch
from torch import nn

from debiaslab.core.errors import UserError
from debiaslab.models import Networks, architecture
from debiaslab.models.convolutional import SimpleConv

SHAPE = (3, 28, 28)


def kernels(encoder: nn.Module) -> set[int]:
    return {module.kernel_size[0] for module in encoder.modules() if isinstance(module, nn.Conv2d)}


def test_the_published_network() -> None:
    encoder = SimpleConv().encoder("f", SHAPE)
    shapes = [list(p.shape) for p in encoder.parameters() if p.dim() == 4]
    assert shapes == [[16, 3, 7, 7], [32, 16, 7, 7], [64, 32, 7, 7], [128, 64, 7, 7]]
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 529_200 + 240 + 2 * 240  # biases, batch norm
    assert encoder.feature_dim == 128


def test_roles() -> None:
    model = SimpleConv(widths=(4, 6), f_kernel=5, g_kernel=3)
    assert kernels(model.encoder("g", SHAPE)) == {3}
    for role in ("f", "classifier", "biased", "debiased"):
        assert kernels(model.encoder(role, SHAPE)) == {5}


def test_features_are_the_mean_of_the_feature_map() -> None:
    encoder = SimpleConv(widths=(4, 6), f_kernel=3).encoder("f", SHAPE)
    image = torch.rand(5, *SHAPE)
    feature_map = encoder.feature_map(image)
    assert feature_map.shape == (5, 6, 28, 28)
    encoder.eval()
    assert encoder(image).allclose(encoder.feature_map(image).mean(dim=3).mean(dim=2), atol=1e-6)


def test_a_1x1_network_cannot_see_shapes() -> None:
    """The pixels in another order give the same features; not so for the 7x7 network."""
    image = torch.rand(2, *SHAPE)
    shuffled = image.flatten(2)[:, :, torch.randperm(28 * 28, generator=torch.Generator().manual_seed(0))].view_as(
        image
    )
    model = SimpleConv(widths=(4, 6))
    for role, sees in (("g", False), ("f", True)):
        encoder = model.encoder(role, SHAPE).eval()
        assert encoder(image).allclose(encoder(shuffled), atol=1e-6) != sees


def test_last_activation() -> None:
    image = torch.rand(8, *SHAPE)
    relu = SimpleConv(widths=(4, 6)).encoder("f", SHAPE).feature_map(image)
    tanh = SimpleConv(widths=(4, 6), last_activation="tanh").encoder("f", SHAPE).feature_map(image)
    assert relu.min() == 0
    assert relu.max() > 1
    assert -1 < tanh.min() < -0.5
    assert 0.5 < tanh.max() < 1


def test_initial_weights_depend_on_seed_and_role_alone() -> None:
    def first_weight(seed: int, role: str) -> torch.Tensor:
        encoder = Networks(SimpleConv(widths=(4, 6), g_kernel=7), SHAPE, 10, seed).encoder(role)
        return next(encoder.parameters())

    torch.manual_seed(1)
    weight = first_weight(1, "f")
    torch.manual_seed(2)
    assert weight.equal(first_weight(1, "f"))
    assert not weight.equal(first_weight(2, "f"))
    assert not weight.equal(first_weight(1, "g"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"f_kernel": 4}, "model.hparams.f_kernel=4: must be odd and positive"),
        ({"widths": []}, "model.hparams.widths=(): must be one or more positive numbers"),
        ({"last_activation": "gelu"}, "model.hparams.last_activation='gelu': must be one of relu, tanh"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        architecture("simple_conv", settings)
    assert str(error.value) == message
