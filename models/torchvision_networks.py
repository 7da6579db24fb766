"""Vision Transformer and ConvNeXt of torchvision, without the last layer."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from debiaslab.core.vision import torchvision
from debiaslab.models.base import Encoder
from debiaslab.models.library import LibraryEncoder, LibraryNetwork, Published


@dataclass(frozen=True, kw_only=True)
class ViTB16(LibraryNetwork):
    """torchvision's ViT-B/16 (Dosovitskiy et al., ICLR 2021), for images of 224x224: the class token's 768 features."""

    image_size: ClassVar[int] = 224

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        network = torchvision("models").vit_b_16(weights=None)
        network.heads.head = nn.Identity()
        published = Published("torchvision", "vit_b_16", ("heads.head.",))
        encoder = LibraryEncoder(network, network.hidden_dim, published, fixed=self.frozen)
        return encoder.requires_grad_(not self.frozen)


@dataclass(frozen=True, kw_only=True)
class ConvNeXtTiny(LibraryNetwork):
    """torchvision's ConvNeXt-T (Liu et al., CVPR 2022) with its last layer norm: 768 features.

    Without stochastic depth, which torchvision drops blocks with in training: it is for training from scratch.
    """

    def smallest_image(self, role: str) -> int:
        return 32

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        network = torchvision("models").convnext_tiny(weights=None, stochastic_depth_prob=0.0)
        features = network.classifier[2].in_features
        network.classifier[2] = nn.Identity()
        published = Published("torchvision", "convnext_tiny", ("classifier.2.",))
        encoder = LibraryEncoder(network, features, published, fixed=self.frozen)
        return encoder.requires_grad_(not self.frozen)
