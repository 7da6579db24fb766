"""What every data set ends as: images, target and bias for each split."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

# `holdout` validates on images kept out of training; `published` splits the data as the papers do
PROTOCOLS = ("holdout", "published")

# mean and standard deviation of each channel, of images in [0, 1]
Normalization = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Split:
    """images uint8 [N, channels, height, width]; target and bias int64 [N], class indices from 0."""

    images: Tensor
    target: Tensor
    bias: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.target.to(device), self.bias.to(device))

    def select(self, index: Tensor) -> "Split":
        """The samples at `index`, int64 [M], in that order."""
        return Split(self.images[index], self.target[index], self.bias[index])


@dataclass(frozen=True)
class BiasedDataset:
    """A biased training split with the splits it is judged on.

    `valid` is None where the protocol has no validation images. `fingerprint` identifies the content: equal
    fingerprints mean equal images and labels. `extra` are further test splits, by name. Networks get images in [0, 1],
    less the mean and divided by the standard deviation of `normalize` where there is one.
    """

    name: str
    train: Split
    valid: Split | None
    test: Split
    num_classes: int
    num_biases: int
    fingerprint: str
    extra: Mapping[str, Split] = field(default_factory=dict)
    normalize: Normalization | None = None

    def to(self, device: torch.device) -> "BiasedDataset":
        valid = None if self.valid is None else self.valid.to(device)
        extra = {name: split.to(device) for name, split in self.extra.items()}
        return replace(self, train=self.train.to(device), valid=valid, test=self.test.to(device), extra=extra)

    def evaluation_splits(self) -> dict[str, Split]:
        """The splits that every evaluation covers: "valid" where there is one, "test", and the extra ones."""
        return ({} if self.valid is None else {"valid": self.valid}) | {"test": self.test, **self.extra}

    def aligned_groups(self) -> Tensor:
        """bool [num_classes, num_biases], True for the usual (target, bias) pairs: bias class c goes with class c."""
        return torch.eye(self.num_classes, self.num_biases, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(ABC):
    """The settings of one data set, which can load it.

    `NUM_TRAIN` is its number of training images, of the published protocol: it says how many steps an epoch has before
    the data is at hand. None: not known.
    """

    NUM_TRAIN: ClassVar[int | None] = None

    root: str = "data"  # folder of the downloaded files
    protocol: str = "holdout"
    seed: int = 0  # of the data, such as its colour noise; never the run's

    @abstractmethod
    def load(self) -> BiasedDataset:
        """Read, or build and cache, the data. Raises `UserError` for whatever is missing or damaged."""
