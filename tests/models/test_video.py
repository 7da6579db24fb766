import pytest
import torch
from torch import nn

from debiaslab.core.errors import UserError
from debiaslab.models import Networks, architecture
from debiaslab.models.video import ResNet3D

SHAPE = (3, 8, 32, 32)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def block(fan_in: int, fan_out: int, kernel: int) -> int:
    """Weights of the convolutions, and two numbers for each channel of a batch norm."""
    shortcut = fan_in * fan_out + 2 * fan_out if fan_in != fan_out else 0
    return (fan_in * kernel + fan_out) * fan_out * 9 + 4 * fan_out + shortcut


@pytest.mark.parametrize(("role", "kernel", "expected"), [("f", 3, 5_167_584), ("g", 1, 2_798_880)])
def test_size(role: str, kernel: int, expected: int) -> None:
    stem = 3 * 32 * kernel * 49 + 2 * 32
    stages = 2 * block(32, 32, kernel)
    stages += sum(block(w, 2 * w, kernel) + block(2 * w, 2 * w, kernel) for w in (32, 64, 128))
    assert parameters(ResNet3D().encoder(role, SHAPE)) == stem + stages == expected


def test_shapes() -> None:
    encoder = ResNet3D().encoder("f", SHAPE).eval()
    feature_map = encoder.feature_map(torch.rand(2, *SHAPE))
    assert feature_map.shape == (2, 256, 8, 1, 1)  # time keeps its length, height and width are a 32nd
    assert encoder.feature_map(torch.rand(1, 3, 4, 224, 160)).shape == (1, 256, 4, 7, 5)
    assert encoder.pool(feature_map).allclose(feature_map.flatten(2).mean(dim=2), atol=1e-6)
    assert encoder(torch.rand(2, *SHAPE)).shape == (2, encoder.feature_dim) == (2, 256)


def test_the_biased_network_cannot_see_motion() -> None:
    """The frames in another order give the same features; not so for the target network."""
    clip = torch.rand(1, *SHAPE)
    for role, sees in (("g", False), ("f", True), ("classifier", True)):
        encoder = ResNet3D(width=8).encoder(role, SHAPE).eval()
        with torch.no_grad():
            assert encoder(clip).allclose(encoder(clip.flip(2)), atol=1e-6) != sees


def test_images_and_clips_are_told_apart() -> None:
    video, image = architecture("resnet18_3d", {"width": 4}), architecture("resnet18", {})
    assert Networks(video, SHAPE, 10, seed=1).classifier("f").head.in_features == 32
    with pytest.raises(UserError, match=r"model ResNet3D takes clips, and the data set has images; leave model\.name"):
        Networks(video, (3, 32, 32), 10, seed=1).encoder("f")
    with pytest.raises(UserError, match=r"model ResNet18 takes images, and the data set has clips; leave model\.name"):
        Networks(image, SHAPE, 10, seed=1).encoder("f")


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match=r"^model\.hparams\.g_temporal_kernel=2: must be odd and positive$"):
        architecture("resnet18_3d", {"g_temporal_kernel": 2})
