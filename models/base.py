"""The interface of architectures: each builds the encoders of a method's networks."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from debiaslab.core.ranks import of_whole_batch
from debiaslab.core.settings import Settings
from debiaslab.models.numerics import USUAL, Numerics, by_numerics


class Encoder(nn.Module):
    """Maps images float32 [B, C, H, W], clips [B, C, frames, H, W] or features [B, F] to features [B, feature_dim].

    Decorate the methods that compute features or a feature map with `by_numerics`. If several processes train the
    network, each computes its part of the batch, and what it returns is of the whole batch (`core.ranks`).
    """

    feature_dim: int
    numerics: Numerics = USUAL

    def __call__(self, image: Tensor) -> Tensor:
        return of_whole_batch(super().__call__, image)

    def feature_map(self, image: Tensor) -> Tensor:
        """The input of `pool`: the feature map, or the features themselves in an encoder without pooling."""
        features: Tensor = self(image)
        return features

    def pool(self, feature_map: Tensor) -> Tensor:
        """Reduce a feature map to features [B, feature_dim]."""
        return feature_map


class PoolingEncoder(Encoder):
    """Global average pooling over the feature map that `body` computes.

    The feature map is [B, feature_dim, h, w], or [B, feature_dim, t, h, w] for clips.
    """

    def __init__(self, body: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.body = body
        self.feature_dim = feature_dim

    def feature_map(self, image: Tensor) -> Tensor:
        return of_whole_batch(self.map, image)

    @by_numerics
    def map(self, image: Tensor) -> Tensor:
        """The feature map of the images that this process has been given."""
        feature_map: Tensor = self.body(image)
        return feature_map

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.mean(dim=tuple(range(2, feature_map.dim())))

    def forward(self, image: Tensor) -> Tensor:
        return self.pool(self.map(image))


class Architecture(Settings, ABC):
    """Base class for the settings of an architecture family: a frozen dataclass that builds encoders.

    `roles` are the networks it distinguishes, such as "shallow" and "deep"; None: any role name works, and all networks
    are alike. `takes_clips`: the input is clips instead of images. `takes_features`: it may be features of
    another network as well. `image_size`: the only height and width of images, in pixels; None: any from
    `smallest_image`.
    """

    roles: ClassVar[tuple[str, ...] | None] = None
    takes_clips: ClassVar[bool] = False
    takes_features: ClassVar[bool] = False
    image_size: ClassVar[int | None] = None

    @property
    def has_published_weights(self) -> bool:
        """Whether a network of it is a library's, with weights that `model.pretrained` names, or a file has."""
        return False

    @property
    def pretrained_roles(self) -> tuple[str, ...] | None:
        """The roles that are initialised from `model.pretrained`, unless that is "none"; None: all roles."""
        return None

    def smallest_image(self, role: str) -> int:
        """The minimum height and width, in pixels, of images for the network `role`."""
        return 1

    @abstractmethod
    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        """Build the encoder for `role`, for inputs of the shape `image_shape`.

        That is (channels, height, width) for images, (channels, frames, height, width) for clips, (F,) for features.

        Weights are initialised as in the cited source, or by PyTorch's defaults.
        """
