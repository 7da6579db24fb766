"""Linear classifiers: the features are the input itself."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Tensor

from debiaslab.models.base import Architecture, Encoder


class Flattened(Encoder):
    """The input, flattened: it has no parameters, so that only the head on top of it is trained."""

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.feature_dim = prod(image_shape)

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1)


@dataclass(frozen=True, kw_only=True)
class Linear(Architecture):
    """Logistic regression, for features of a frozen network; only the methods' linear heads are trained."""

    takes_features: ClassVar[bool] = True

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        return Flattened(image_shape)
