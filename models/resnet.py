"""Residual networks without the last layer: ResNet-20 for small images, and torchvision's ResNet-18."""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import pad

from debiaslab.core.settings import setting
from debiaslab.core.vision import torchvision
from debiaslab.models.base import Architecture, Encoder, PoolingEncoder
from debiaslab.models.convolution import with_small_maps


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


class ResNet18Body(nn.Sequential):
    """torchvision's ResNet-18 up to the feature map, with torchvision's parameter names and initialisation."""

    FEATURES = 512

    def __init__(self) -> None:
        network = with_small_maps(torchvision("models").resnet18(weights=None))
        head = ("avgpool", "fc")
        super().__init__(OrderedDict((name, layer) for name, layer in network.named_children() if name not in head))


class FixedStatistics(PoolingEncoder):
    """An encoder that is always in eval mode: its batch norm uses the stored running statistics unchanged."""

    def train(self, mode: bool = True) -> "FixedStatistics":
        super().train(False)
        return self


@dataclass(frozen=True, kw_only=True)
class ResNet18(Architecture):
    """torchvision's ResNet-18: 512 features; images of any size go through the 7x7 stride-2 stem."""

    frozen: bool = setting(False, "freeze the encoder; only the heads are trained")
    fixed_statistics: bool = setting(
        True, "batch norm of a frozen encoder uses its running statistics; False, as in LfF's code: batch statistics"
    )

    @property
    def pretrained_roles(self) -> None:
        return None

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        kind = FixedStatistics if self.frozen and self.fixed_statistics else PoolingEncoder
        return kind(ResNet18Body(), ResNet18Body.FEATURES).requires_grad_(not self.frozen)
