"""What an architecture offers a method: encoders, each for one of the method's networks."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from debiaslab.core.settings import Settings
from debiaslab.models.numerics import USUAL, Numerics, by_numerics


class Encoder(nn.Module):
    """Images float32 [B, C, H, W], or clips [B, C, frames, H, W], as in a `Batch`, to features [B, feature_dim].

    What computes features, or a feature map, does so `by_numerics`.
    """

    feature_dim: int
    numerics: Numerics = USUAL

    def feature_map(self, image: Tensor) -> Tensor:
        """What `pool` makes the features of. An encoder that does not pool has the features alone."""
        features: Tensor = self(image)
        return features

    def pool(self, feature_map: Tensor) -> Tensor:
        """The features [B, feature_dim] of a feature map."""
        return feature_map


class PoolingEncoder(Encoder):
    """An encoder whose features are the averages over its feature map, which `body` makes.

    The map is [B, feature_dim, h, w], that of clips [B, feature_dim, t, h, w].
    """

    def __init__(self, body: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.body = body
        self.feature_dim = feature_dim

    @by_numerics
    def feature_map(self, image: Tensor) -> Tensor:
        feature_map: Tensor = self.body(image)
        return feature_map

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.mean(dim=tuple(range(2, feature_map.dim())))

    def forward(self, image: Tensor) -> Tensor:
        return self.pool(self.feature_map(image))


class Architecture(Settings, ABC):
    """Base of the settings of one architecture family: a frozen dataclass that can make encoders.

    `roles` are the networks that it tells apart, such as "shallow" and "deep"; None: any name will do, all are alike.
    `takes_clips`: it is for clips, not for images.
    """

    roles: ClassVar[tuple[str, ...] | None] = None
    takes_clips: ClassVar[bool] = False

    @property
    def pretrained_roles(self) -> tuple[str, ...] | None:
        """The networks that start from the weights of `model.pretrained`, where that names any; None: all of them."""
        return ()

    def smallest_image(self, role: str) -> int:
        """The least height and width, in pixels, of images for the network `role`."""
        return 1

    @abstractmethod
    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        """The encoder for `role` and images of shape (channels, height, width), or clips (channels, frames, ...).

        It is initialised as its source says, or by PyTorch's defaults.
        """
