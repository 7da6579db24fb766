"""Build a method's networks from an architecture, for one data set."""

import torch
from torch import Tensor, nn

from debiaslab.core.errors import UserError, one_of
from debiaslab.core.randomness import seed_torch
from debiaslab.models.base import Architecture, Encoder
from debiaslab.models.numerics import USUAL, Numerics, by_numerics
from debiaslab.models.pretrained import InitialWeights


class Head(nn.Linear):
    """The linear layer on top of an encoder: maps features [B, in_features] to logits [B, out_features]."""

    numerics: Numerics = USUAL

    @by_numerics
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features)


class Classifier(nn.Module):
    """An encoder with a linear head: maps images [B, C, H, W] to logits [B, num_classes]."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(image))
        return logits


class Networks:
    """Builds a method's networks; the initial weights of each depend on the seed and its role alone.

    `weights`, if given, are loaded into the encoders of the architecture's `pretrained_roles`. All networks
    compute with `numerics`.
    """

    def __init__(
        self,
        architecture: Architecture,
        image_shape: tuple[int, ...],
        num_classes: int,
        seed: int,
        weights: InitialWeights | None = None,
        numerics: Numerics = USUAL,
    ) -> None:
        self.architecture = architecture
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.seed = seed
        self.weights = weights
        self.numerics = numerics

    def encoder(self, role: str) -> Encoder:
        """Build the encoder for `role`; raises `UserError` if the architecture has none for the role or the images."""
        self._check(role)
        with seed_torch(self.seed, "initial weights", role):
            encoder = self.architecture.encoder(role, self.image_shape)
        pretrained = self.architecture.pretrained_roles
        if self.weights is not None and (pretrained is None or role in pretrained):
            self.weights.load(encoder, role)
        encoder.numerics = self.numerics
        return self._in_layout(encoder)

    def head(self, role: str, in_features: int, out_features: int | None = None) -> Head:
        """Build a linear layer with one output per class, or with `out_features` outputs."""
        with seed_torch(self.seed, "initial weights", role):
            head = Head(in_features, self.num_classes if out_features is None else out_features)
        head.numerics = self.numerics
        return head

    def classifier(self, role: str) -> Classifier:
        encoder = self.encoder(role)
        return Classifier(encoder, self.head(f"{role} head", encoder.feature_dim))

    def _in_layout(self, encoder: Encoder) -> Encoder:
        if not self.numerics.channels_last:
            return encoder
        if not any(isinstance(module, nn.Conv2d) for module in encoder.modules()):
            name = type(self.architecture).__name__
            raise UserError(f"channels_last=True: model {name} has no convolutions of images; leave it out")
        placed: Encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def _check(self, role: str) -> None:
        architecture, fix = self.architecture, "leave model.name out to get the one that the method was published with"
        name, roles = type(architecture).__name__, architecture.roles
        if roles is not None and role not in roles:
            raise UserError(f"model {name} has no {role!r} network, it has {one_of(roles)}; {fix}")
        kind = {1: "features", 4: "clips"}.get(len(self.image_shape), "images")
        taken = "clips" if architecture.takes_clips else "images"
        if kind != taken and not (kind == "features" and architecture.takes_features):
            fix = "choose model=linear, mlp or mlp_branches" if kind == "features" else fix
            raise UserError(f"model {name} takes {taken}, and the data set has {kind}; {fix}")
        least, size = architecture.smallest_image(role), self.image_shape[-2:]
        only = architecture.image_size
        if only is not None and size != (only, only):
            raise UserError(
                f"model {name} takes images of {only}x{only} pixels, and these have {size[0]}x{size[1]}; choose another"
                f" with model.name (your own images are resized with data.image_size={only})"
            )
        if min(size) < least:
            raise UserError(
                f"model {name} needs images of at least {least}x{least} pixels for its {role!r} network, and these have"
                f" {size[0]}x{size[1]}; choose another with model.name"
            )
