"""What every data set is: its settings, what it reads, and the splits that it is loaded as."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.program import program_name
from debiaslab.core.randomness import SEEDS, SEEDS_IN_WORDS, torch_generator
from debiaslab.core.settings import Settings, choice, must_be, setting
from debiaslab.datasets.augmentation import Augmentation
from debiaslab.datasets.preprocessing import Normalization, Preparation, Preprocessing, Stretched
from debiaslab.datasets.splits import Split

# `holdout` validates on images kept out of training, in several data sets without their bias; `iid` on a share of the
# training images, with their bias; `published` splits the data as the papers do
PROTOCOLS = ("holdout", "iid", "published")
KINDS = ("digits", "small images", "photographs", "clips")  # digits: 28 pixels and few shapes; small images: 32 pixels


def split_of(protocol: str) -> str:
    """The protocol whose images are read, or built: `iid` splits those of `published`."""
    return "published" if protocol == "iid" else protocol


CIFAR10_STATISTICS: Normalization = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET_STATISTICS: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def inspect_command(dataset: str, root: str) -> str:
    """What says which files a data set needs in the folder `root`, and where to get them."""
    return f"{program_name()} inspect with {dataset} data.root={root}"


@dataclass(frozen=True)
class BiasedDataset:
    """A biased training split with the splits it is judged on.

    `valid` is None where the protocol has no validation images. `fingerprint` identifies the content: equal
    fingerprints mean equal images and labels. `extra` are further test splits, by name. Networks get images in [0, 1],
    less the mean and divided by the standard deviation of `normalize` where there is one; training images go through
    `augment` first. `prepare` is how test images were made to have one size; None: they are stretched. `aligned` bool
    [num_classes, num_biases] says which (target, bias) pairs are the usual ones; None: bias class c goes with class c.

    A bias label may stand for several attributes at once, of `attribute_sizes` values each (the last one changes
    fastest), whose accuracies are averaged; groups of fewer than `min_group` samples are then left out. `means` are
    results that are the mean over several extra splits, by name.

    `notes` are lines for the user on what was read, such as files that had to be left out; one that begins with the
    name of a split and a colon stands below the tables of that split's metrics.
    `class_names` and `bias_names` are what the labels stand for, by class index; None: numbers.
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
    prepare: Preparation | None = None
    augment: Augmentation | None = None
    aligned: Tensor | None = None
    attribute_sizes: tuple[int, ...] | None = None
    min_group: int = 1
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    bias_names: tuple[str, ...] | None = None

    def splits(self) -> dict[str, Split]:
        """All splits, by name."""
        return {"train": self.train, **self.evaluation_splits()}

    def evaluation_splits(self) -> dict[str, Split]:
        """The splits that every evaluation covers: "valid" where there is one, "test", and the extra ones."""
        return ({} if self.valid is None else {"valid": self.valid}) | {"test": self.test, **self.extra}

    def to(self, device: torch.device, memory: float = float("inf")) -> "BiasedDataset":
        """On `device`, with images that are on file too if all of them fit into `memory` bytes.

        Otherwise they stay on file and are read as they are needed.
        """
        fits = sum(split.file_bytes() for split in self.splits().values()) <= memory
        moved = self if not fits else self._with_splits({k: _loaded(split) for k, split in self.splits().items()})
        moved = moved._with_splits({name: split.to(device) for name, split in moved.splits().items()})
        return replace(moved, augment=None if self.augment is None else self.augment.to(device))

    def limited(self, num_images: int) -> "BiasedDataset":
        """The same with at most so many images, chosen at random, in every evaluation split."""
        splits = {"train": self.train}
        for name, split in self.evaluation_splits().items():
            order = torch.randperm(len(split), generator=torch_generator(0, "limited", name))
            splits[name] = split.select(order[:num_images].sort().values)
        return self._with_splits(splits)

    def judged(self, protocol: str) -> "Judged":
        """What the images are that weights are chosen on: the test images, where the papers' protocol says so."""
        if protocol == "iid":
            return IID
        split = self.test if protocol == "published" or self.valid is None else self.valid
        return Judged(knows_bias=split.has_bias, has_valid=self.valid is not None)

    def aligned_groups(self) -> Tensor:
        """bool [num_classes, num_biases], True for the usual (target, bias) pairs."""
        if self.aligned is not None:
            return self.aligned
        return torch.eye(self.num_classes, self.num_biases, dtype=torch.bool)

    def aligned_samples(self, split: Split) -> Tensor:
        """bool [N]: the samples of `split`, which has bias labels, whose bias is the usual one of their target."""
        return self.aligned_groups().to(split.target.device)[split.target, split.bias]

    def tells_conflicting(self, split: Split | None = None) -> bool:
        """Whether the images of `split` (None: those of training) are known to be bias-aligned or bias-conflicting."""
        has_bias = self.train.has_bias if split is None else split.has_bias
        return has_bias and bool(self.aligned_groups().any())

    def preprocessing(self) -> Preprocessing | None:
        """What makes another image what the networks take; None for clips and arrays that no image file becomes."""
        channels, *size = self.test.image_shape
        if channels != 3 or len(size) != 2 or len(set(size)) != 1:
            return None
        return Preprocessing(self.prepare or Stretched(size[0]), self.normalize)

    def class_labels(self) -> list[str]:
        """The classes for a reader: their names, or their numbers."""
        return [str(label) for label in self.class_names or range(self.num_classes)]

    def bias_labels(self) -> list[str]:
        """The biases for a reader: their names, or their numbers."""
        return [str(label) for label in self.bias_names or range(self.num_biases)]

    def group_shape(self, split: Split) -> torch.Size:
        """(num_classes, num_biases), or (num_classes, 1) for a split without bias labels."""
        return torch.Size((self.num_classes, self.num_biases if split.has_bias else 1))

    def groups(self, split: Split) -> Tensor:
        """The number of each sample's (target, bias) group, int64 [N]: its place in a flat table of `group_shape`."""
        return split.target * self.num_biases + split.bias if split.has_bias else split.target

    def _with_splits(self, splits: Mapping[str, Split]) -> "BiasedDataset":
        extra = {name: splits[name] for name in self.extra}
        return replace(self, train=splits["train"], valid=splits.get("valid"), test=splits["test"], extra=extra)


def _loaded(split: Split) -> Split:
    return split.in_memory() if split.file_bytes() else split


@dataclass(frozen=True)
class Source:
    """A file or folder that a data set is read from: where it has to be, what it is, and where to get it.

    `required` is False for what `load` downloads itself, or can do without.
    """

    path: Path
    content: str  # such as "19,200 training images"
    origin: str  # an address, or what to do; for a reader
    required: bool = True

    @property
    def is_there(self) -> bool:
        """Whether the file is there, or the folder, with something in it."""
        try:
            return self.path.is_file() or any(self.path.iterdir())
        except OSError:
            return False


@dataclass(frozen=True)
class Judged:
    """What the images are that weights are chosen on. None: only the data can tell.

    `knows_bias`: they have bias labels, which rules that the user has not named may read. `has_valid`: there are
    validation images.
    """

    knows_bias: bool | None
    has_valid: bool | None


IID = Judged(knows_bias=False, has_valid=True)  # under the protocol iid, whatever the data


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(Settings, ABC):
    """The settings of one data set, which can load it.

    What its fields declare (`core.settings.Setting`) is all that the rest of the code knows of them.

    `NUM_TRAIN` is its number of training images, of the published protocol: it says how many steps an epoch has before
    the data is at hand. None: not known. `KIND` of images, of `KINDS`: by it, methods have recipes for data that they
    were not published on. `LICENCE` of the images, as their authors state it; None: not known.
    """

    PREFIX = "data."
    NUM_TRAIN: ClassVar[int | None] = None
    KIND: ClassVar[str] = "photographs"
    LICENCE: ClassVar[str | None] = None

    root: str = setting("data", "folder of the downloaded files", place=True)
    protocol: str = setting(
        "holdout",
        "holdout: validation images are kept out of training; iid: they are a random share of it, with its bias, and no"
        " rule reads their bias labels unless asked to; published: the papers' split",
        choice(PROTOCOLS, ", ".join(PROTOCOLS)),
        published=False,
    )
    seed: int = setting(
        0,
        "of what is random in the data (colour noise, corruptions, splits); never the run's",
        must_be(SEEDS_IN_WORDS, lambda seed: seed in SEEDS),
        published=False,
    )

    def sources(self) -> list[Source]:
        """What `load` reads; what it downloads itself is among them. Empty: nothing has to be there."""
        return []

    def require_sources(self, name: str) -> None:
        """Raise `UserError` if something that the data set `name` cannot do without is missing."""
        missing = [source.path for source in self.sources() if source.required and not source.is_there]
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise UserError(
                f"{name} needs {missing[0]}{others}, which is missing; what to get: {inspect_command(name, self.root)}"
            )

    def judged(self) -> "Judged":
        """What the images are that weights are chosen on, as far as the settings tell; nothing is read."""
        return Judged(knows_bias=True, has_valid=self.protocol != "published")

    @abstractmethod
    def load(self) -> BiasedDataset:
        """Read, or build and cache, the data. Raises `UserError` for whatever is missing or damaged."""
