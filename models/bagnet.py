"""BagNet-18: a ResNet-18 with a receptive field of about 5x5 pixels, ReBias's biased network for images."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from debiaslab.models.base import Architecture, Encoder, PoolingEncoder
from debiaslab.models.resnet import ResNet18

WIDTHS = (64, 128, 256, 512)  # channels of the four layers, each of two blocks
STRIDES = (2, 2, 2, 1)
SMALLEST_IMAGE = 5  # pixels; the two unpadded 3x3 convolutions need that many


class BagNetBlock(nn.Module):
    """An unpadded convolution, a 1x1 convolution, and a shortcut cropped at the bottom and right to match them."""

    def __init__(self, in_channels: int, channels: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
        height, width = residual.shape[2:]
        shortcut: Tensor = self.shortcut(x)[:, :, :height, :width]
        return (residual + shortcut).relu_()


@dataclass(frozen=True, kw_only=True)
class BagNet18(Architecture):
    """BagNet-18 of ReBias (Bahng et al., ICML 2020), after Brendel and Bethge (ICLR 2019): 512 features."""

    def smallest_image(self, role: str) -> int:
        return SMALLEST_IMAGE

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        layers: list[nn.Module] = [
            nn.Conv2d(image_shape[0], 64, 1, bias=False),
            nn.Conv2d(64, 64, 3, bias=False),
            nn.BatchNorm2d(64, momentum=0.001),
            nn.ReLU(inplace=True),
        ]
        channels = 64
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            kernel = 3 if width == WIDTHS[0] else 1  # kernel of the layer's first convolution; all others are 1x1
            layers += [BagNetBlock(channels, width, stride, kernel), BagNetBlock(width, width, 1, 1)]
            channels = width
        body = nn.Sequential(*layers)
        for module in body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        return PoolingEncoder(body, channels)


@dataclass(frozen=True, kw_only=True)
class ResNet18BagNet18(Architecture):
    """The networks of ReBias and related methods for images: f is a ResNet-18, the biased network g a BagNet-18."""

    roles: ClassVar[tuple[str, ...]] = ("f", "g")

    @property
    def has_published_weights(self) -> bool:
        return True

    @property
    def pretrained_roles(self) -> tuple[str, ...]:
        return ("f",)

    def smallest_image(self, role: str) -> int:
        return SMALLEST_IMAGE if role == "g" else 1

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        network = BagNet18() if role == "g" else ResNet18()
        return network.encoder(role, image_shape)
