"""What an architecture offers a method, and the networks that it makes."""

from typing import Protocol

from torch import Tensor, nn

from core.errors import UserError, one_of
from core.randomness import seeded


class Encoder(nn.Module):
    """Images float32 [B, C, H, W] in [0, 1] to features float32 [B, feature_dim]."""

    feature_dim: int


class Architecture(Protocol):
    """The settings of one architecture family: a frozen dataclass that can make encoders."""

    @property
    def roles(self) -> tuple[str, ...] | None:
        """The networks that it tells apart, such as "shallow" and "deep"; None: any name will do, all are alike."""
        ...

    def encoder(self, role: str, image_shape: tuple[int, int, int]) -> Encoder:
        """The encoder for `role` and images of shape (channels, height, width), initialised by PyTorch's defaults."""
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

    def head(self, role: str, in_features: int) -> nn.Linear:
        """A linear layer to the classes."""
        with seeded(self.seed, "initial weights", role):
            return nn.Linear(in_features, self.num_classes)

    def classifier(self, role: str) -> Classifier:
        encoder = self.encoder(role)
        return Classifier(encoder, self.head(f"{role} head", encoder.feature_dim))
