"""DeNetDM's convolutional branches: a plain shallow network and residual deep ones."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from debiaslab.core.settings import choice, must_be, positive, setting
from debiaslab.models.base import Architecture, Encoder, PoolingEncoder
from debiaslab.models.convolution import Conv2d
from debiaslab.models.numerics import by_numerics
from debiaslab.models.resnet import ResNet18, ResNet20


@dataclass(frozen=True)
class PlainConv(Architecture):
    """Unpadded convolutions, then pooling; each is given as (kernel, channels, layers that follow it)."""

    convolutions: tuple[tuple[int, int, str], ...]

    def smallest_image(self, role: str) -> int:
        size = 1
        for kernel, _, following in reversed(self.convolutions):
            size = size * (2 if "pool" in following else 1) + kernel - 1
        return size

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        layers: list[nn.Module] = []
        channels = image_shape[0]
        for kernel, width, following in self.convolutions:
            further = {"norm": nn.BatchNorm2d(width), "relu": nn.ReLU(inplace=True), "pool": nn.MaxPool2d(2)}
            layers += [Conv2d(channels, width, kernel), *(further[name] for name in following.split())]
            channels = width
        return PoolingEncoder(nn.Sequential(*layers), channels)


NETWORKS: dict[str, Architecture] = {
    "conv3": PlainConv(((5, 32, "norm relu pool"), (5, 64, "norm relu pool"), (5, 64, "norm relu"))),
    "conv4": PlainConv(
        ((7, 64, "norm relu pool"), (3, 128, "norm relu pool"), (3, 512, "pool norm relu"), (3, 512, "norm relu"))
    ),
    "resnet20": ResNet20(),
    "resnet18": ResNet18(),
}


class Projected(Encoder):
    """An encoder followed by a linear projection to `feature_dim` features."""

    def __init__(self, encoder: Encoder, feature_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(encoder.feature_dim, feature_dim)
        self.feature_dim = feature_dim

    @by_numerics
    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.projection(self.encoder(image))
        return features


ROLES = ("shallow", "deep", "target")


@dataclass(frozen=True, kw_only=True)
class ConvBranches(Architecture):
    """DeNetDM's branches for photographs and, with other networks, for Corrupted CIFAR-10 (code of Sreelatha et al.).

    conv3 (64 features) is meant for 32x32 images, for which its feature map is a single pixel. conv4 and resnet18 have
    512 features, resnet20 has 64.
    """

    roles: ClassVar[tuple[str, ...]] = ROLES

    shallow: str = setting("conv4", "network of the shallow branch", choice(NETWORKS))
    deep: str = setting("resnet18", "network of the deep branch", choice(NETWORKS))
    target: str = setting("resnet18", "network of the target branch", choice(NETWORKS))
    width: int = setting(
        512, "features of each branch; a network with more or fewer gets a linear projection to this width", positive
    )
    pretrained_roles: tuple[str, ...] = setting(
        ("target",),
        "branches whose ResNet-18 is initialised from model.pretrained",
        must_be(f"among {', '.join(ROLES)}", lambda roles: set(roles) <= set(ROLES)),
    )

    @property
    def has_published_weights(self) -> bool:
        return True

    def smallest_image(self, role: str) -> int:
        return self._network(role).smallest_image(role)

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        encoder = self._network(role).encoder(role, image_shape)
        return encoder if encoder.feature_dim == self.width else Projected(encoder, self.width)

    def _network(self, role: str) -> Architecture:
        return NETWORKS[getattr(self, role)]
