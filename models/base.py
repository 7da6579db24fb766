"""What an architecture offers a method, and the networks that it makes."""

from typing import Protocol

from torch import Tensor, nn

from core.errors import UserError, one_of
from core.randomness import seeded


class Encoder(nn.Module):
    """Images float32 [B, C, H, W], as in a `Batch`, to features float32 [B, feature_dim]."""

    feature_dim: int

    def feature_map(self, image: Tensor) -> Tensor:
        """What `pool` makes the features of. An encoder that does not pool has the features alone."""
        features: Tensor = self(image)
        return features

    def pool(self, feature_map: Tensor) -> Tensor:
        """The features [B, feature_dim] of a feature map."""
        return feature_map


class PoolingEncoder(Encoder):
    """An encoder whose features are the averages over its feature map [B, feature_dim, h, w], which `body` makes."""

    def __init__(self, body: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.body = body
        self.feature_dim = feature_dim

    def feature_map(self, image: Tensor) -> Tensor:
        feature_map: Tensor = self.body(image)
        return feature_map

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.mean(dim=(2, 3))

    def forward(self, image: Tensor) -> Tensor:
        return self.pool(self.feature_map(image))


class Architecture(Protocol):
    """The settings of one architecture family: a frozen dataclass that can make encoders."""

    @property
    def roles(self) -> tuple[str, ...] | None:
        """The networks that it tells apart, such as "shallow" and "deep"; None: any name will do, all are alike."""
        ...

    def encoder(self, role: str, image_shape: tuple[int, int, int]) -> Encoder:
        """The encoder for `role` and images of shape (channels, height, width).

        It is initialised as its source says, or by PyTorch's defaults.
        """
        ...


class Classifier(nn.Module):
    """An encoder with a linear head: images [B, C, H, W] to logits [B, num_classes]."""

    def __init__(self, encoder: Encoder, head: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(image))
        return logits


class Networks:
    """Makes a method's networks; the initial weights of each depend on the seed and its role alone."""

    def __init__(
        self, architecture: Architecture, image_shape: tuple[int, int, int], num_classes: int, seed: int
    ) -> None:
        self.architecture = architecture
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.seed = seed

    def encoder(self, role: str) -> Encoder:
        """Raises `UserError` if the architecture has no network for `role`."""
        roles = self.architecture.roles
        if roles is not None and role not in roles:
            name = type(self.architecture).__name__
            raise UserError(
                f"model {name} has no {role!r} network, it has {one_of(roles)};"
                " leave model.name out to get the one that the method was published with"
            )
        with seeded(self.seed, "initial weights", role):
            return self.architecture.encoder(role, self.image_shape)

    def head(self, role: str, in_features: int, out_features: int | None = None) -> nn.Linear:
        """A linear layer to the classes, or to `out_features`."""
        with seeded(self.seed, "initial weights", role):
            return nn.Linear(in_features, self.num_classes if out_features is None else out_features)

    def classifier(self, role: str) -> Classifier:
        encoder = self.encoder(role)
        return Classifier(encoder, self.head(f"{role} head", encoder.feature_dim))
