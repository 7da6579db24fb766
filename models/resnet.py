"""Residual networks without the last layer: ResNet-20 for small images, and torchvision's ResNet-18 and -50."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import pad

from debiaslab.core.vision import torchvision
from debiaslab.models.base import Architecture, Encoder, PoolingEncoder
from debiaslab.models.convolution import with_small_maps
from debiaslab.models.library import BatchNormNetwork, LibraryEncoder, Published


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut (He et al., CVPR 2016, option A).

    Where the block halves the resolution, the shortcut takes every second pixel; additional channels are zero.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        return (residual + pad(shortcut, (0, 0, 0, 0, before, self.new_channels - before))).relu()


@dataclass(frozen=True, kw_only=True)
class ResNet20(Architecture):
    """The 20-layer network of He et al. (CVPR 2016, sec. 4.2), initialised as in their ICCV 2015 paper: 64 features."""

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        layers: list[nn.Module] = [
            nn.Conv2d(image_shape[0], 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ]
        channels = 16
        for width in (16, 32, 64):
            for block in range(3):
                stride = 2 if block == 0 and width > 16 else 1
                layers.append(BasicBlock(channels, width, stride))
                channels = width
        body = nn.Sequential(*layers)
        for module in body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return PoolingEncoder(body, channels)


class ResNetBody(nn.Sequential):
    """torchvision's resnet18 or resnet50 up to the feature map, with its parameter names and initialisation."""

    def __init__(self, name: str) -> None:
        network = with_small_maps(getattr(torchvision("models"), name)(weights=None))
        head = ("avgpool", "fc")
        super().__init__(OrderedDict((name, layer) for name, layer in network.named_children() if name not in head))


@dataclass(frozen=True, kw_only=True)
class TorchvisionResNet(BatchNormNetwork):
    """torchvision's network `NAME`; images of any size go through the 7x7 stride-2 stem."""

    NAME: ClassVar[str]
    FEATURES: ClassVar[int]

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        published = Published("torchvision", self.NAME, ("fc.",))
        fixed = self.frozen and self.fixed_statistics
        encoder = LibraryEncoder(ResNetBody(self.NAME), self.FEATURES, published, fixed=fixed)
        return encoder.requires_grad_(not self.frozen)


@dataclass(frozen=True, kw_only=True)
class ResNet18(TorchvisionResNet):
    """torchvision's ResNet-18: 512 features."""

    NAME = "resnet18"
    FEATURES = 512


@dataclass(frozen=True, kw_only=True)
class ResNet50(TorchvisionResNet):
    """torchvision's ResNet-50: 2,048 features."""

    NAME = "resnet50"
    FEATURES = 2048
