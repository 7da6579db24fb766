"""3D-ResNet-18: SlowFast's basic-block residual network for short clips; the networks of ReBias on Kinetics."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from debiaslab.core.settings import odd, positive, setting
from debiaslab.models.base import Architecture, Encoder, PoolingEncoder


class Block3D(nn.Module):
    """A convolution over time and space, one over space, and a shortcut; the number of frames does not change."""

    def __init__(self, in_channels: int, channels: int, stride: int, temporal_kernel: int) -> None:
        super().__init__()
        strides, padding = (1, stride, stride), (temporal_kernel // 2, 1, 1)
        self.conv1 = nn.Conv3d(in_channels, channels, (temporal_kernel, 3, 3), strides, padding, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, channels, 1, strides, bias=False), nn.BatchNorm3d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
        shortcut: Tensor = self.shortcut(x)
        return (residual + shortcut).relu_()


@dataclass(frozen=True, kw_only=True)
class ResNet3D(Architecture):
    """3D-ResNet-18 (Feichtenhofer et al., ICCV 2019, as used by Bahng et al., ICML 2020): 8 x `width` features.

    The stem and the first convolution of each block span `f_temporal_kernel` frames, or `g_temporal_kernel` frames for
    the role "g", ReBias's biased network; with 1, that network sees single frames only.
    """

    takes_clips: ClassVar[bool] = True

    width: int = setting(32, "channels of the stem and the first stage; each further stage doubles them", positive)
    f_temporal_kernel: int = setting(3, "temporal kernel size in frames", odd)
    g_temporal_kernel: int = setting(1, "temporal kernel size of ReBias's biased network in frames", odd)

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        kernel = self.g_temporal_kernel if role == "g" else self.f_temporal_kernel
        layers: list[nn.Module] = [
            nn.Conv3d(image_shape[0], self.width, (kernel, 7, 7), (1, 2, 2), (kernel // 2, 3, 3), bias=False),
            nn.BatchNorm3d(self.width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ]
        channels = self.width
        for stage in range(4):
            width = self.width * 2**stage
            layers += [Block3D(channels, width, 2 if stage else 1, kernel), Block3D(width, width, 1, kernel)]
            channels = width
        body = nn.Sequential(*layers)
        for module in body.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        return PoolingEncoder(body, channels)
