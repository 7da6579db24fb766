"""The fully connected networks of LfF, DisEnt and DeNetDM for small images."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from debiaslab.core.settings import all_positive, positive, setting
from debiaslab.models.base import Architecture, Encoder
from debiaslab.models.numerics import by_numerics


class MLPEncoder(Encoder):
    """Linear-ReLU layers of the given widths on the flattened image, which is multiplied by `input_scale`."""

    def __init__(self, image_shape: tuple[int, ...], widths: tuple[int, ...], input_scale: float) -> None:
        super().__init__()
        sizes = (prod(image_shape), *widths)
        self.layers = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes))
        self.input_scale = input_scale
        self.feature_dim = widths[-1]

    @by_numerics
    def forward(self, image: Tensor) -> Tensor:
        first, *others = self.layers
        features = self.apply_to_scaled_pixels(first, image.flatten(1)).relu()
        for layer in others:
            features = layer(features).relu()
        return features

    def apply_to_scaled_pixels(self, layer: nn.Module, pixels: Tensor) -> Tensor:
        """Apply `layer` to the scaled pixels. Scales the product instead, which is much smaller than the pixels."""
        assert isinstance(layer, nn.Linear)
        if self.input_scale == 1:
            return layer(pixels)  # type: ignore[no-any-return]
        return torch.add(layer.bias, pixels @ layer.weight.T, alpha=self.input_scale)


INPUT_SCALE = "factor on images in [0, 1]; the code of LfF and DisEnt divides by 255 a second time"


@dataclass(frozen=True, kw_only=True)
class MLP(Architecture):
    """The same network for every role: 100-100-100 in LfF, 100-100-16 in DisEnt, each with a linear head."""

    takes_features: ClassVar[bool] = True

    widths: tuple[int, ...] = setting((100, 100, 100), "widths of the hidden layers", all_positive)
    input_scale: float = setting(1.0, INPUT_SCALE, positive)

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        return MLPEncoder(image_shape, self.widths, self.input_scale)


@dataclass(frozen=True, kw_only=True)
class MLPBranches(Architecture):
    """DeNetDM's branches: MLPs of one width that differ in depth (hidden layers, without the shared head)."""

    roles: ClassVar[tuple[str, ...]] = ("shallow", "deep", "target")
    takes_features: ClassVar[bool] = True

    width: int = setting(100, "width of the hidden layers", positive)
    shallow: int = setting(2, "hidden layers of the shallow branch", positive)
    deep: int = setting(4, "hidden layers of the deep branch", positive)
    target: int = setting(4, "hidden layers of the target branch", positive)
    input_scale: float = setting(1.0, INPUT_SCALE, positive)

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        return MLPEncoder(image_shape, (self.width,) * getattr(self, role), self.input_scale)
