"""The interface of data sets: their settings, the files they read, and the splits they return."""

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

# `holdout` validates on images held out of training, unbiased in several data sets; `iid` on a random part of the
# training split, with the same bias; `published` uses the splits of the papers
PROTOCOLS = ("holdout", "iid", "published")
KINDS = ("digits", "small images", "photographs", "clips")  # digits: 28x28 pixels; small images: 32x32 pixels


def split_of(protocol: str) -> str:
    """The protocol whose splits are read or built: `iid` starts from those of `published`."""
    return "published" if protocol == "iid" else protocol


UNKNOWN_LICENCE = "unknown; ask whoever collected the images"

CIFAR10_STATISTICS: Normalization = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET_STATISTICS: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def inspect_command(dataset: str, root: str) -> str:
    """The command that lists the files a data set needs in the folder `root`, and where to get them."""
    return f"{program_name()} inspect with {dataset} data.root={root}"


@dataclass(frozen=True)
class BiasedDataset:
    """A biased training split and the splits to evaluate on.

    - `valid`: None if the protocol has no validation images. `extra`: additional test splits, by name.
    - `fingerprint` identifies the content: equal fingerprints mean equal images and labels.
    - `augment`: applied to training images. `normalize`: mean and standard deviation for images in [0, 1], if any.
    - `prepare`: how test images were resized to a common size; None: stretched.
    - `aligned` bool [num_classes, num_biases]: the bias-aligned (target, bias) pairs; None: those with equal indices.
    - `attribute_sizes`: the bias label encodes several attributes with this many values each (the last one changes
      fastest), whose accuracies are averaged; groups of fewer than `min_group` samples are then left out.
    - `usual_shares`: the fraction of images in which each of two attributes is the usual one of the class, by which
      accuracy in distribution and its gaps are defined (`evaluation.metrics`).
    - `means`: results that are means over several extra splits, by name. `differences`: those that are the first split
      less the second; the names end in "_gap".
    - `notes`: messages for the user about the data, such as skipped files. A note that begins with the name of a split
      and a colon is shown below the tables of that split's metrics.
    - `class_names`, `bias_names`: by index; None: the indices are shown.
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
    usual_shares: tuple[float, float] | None = None
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    differences: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    bias_names: tuple[str, ...] | None = None

    def splits(self) -> dict[str, Split]:
        """All splits, by name."""
        return {"train": self.train, **self.evaluation_splits()}

    def evaluation_splits(self) -> dict[str, Split]:
        """The splits of every evaluation: "valid" if there is one, "test", and the extra ones."""
        return ({} if self.valid is None else {"valid": self.valid}) | {"test": self.test, **self.extra}

    def to(self, device: torch.device, memory: float = float("inf")) -> "BiasedDataset":
        """Move to `device`, loading images on file into memory if all of them fit into `memory` bytes.

        Otherwise they stay on file and are read on demand.
        """
        fits = sum(split.file_bytes() for split in self.splits().values()) <= memory
        moved = self if not fits else self._with_splits({k: _loaded(split) for k, split in self.splits().items()})
        moved = moved._with_splits({name: split.to(device) for name, split in moved.splits().items()})
        return replace(moved, augment=None if self.augment is None else self.augment.to(device))

    def limit(self, num_images: int) -> "BiasedDataset":
        """A copy with at most `num_images` random images in each evaluation split."""
        splits = {"train": self.train}
        for name, split in self.evaluation_splits().items():
            order = torch.randperm(len(split), generator=torch_generator(0, "limited", name))
            splits[name] = split.select(order[:num_images].sort().values)
        return self._with_splits(splits)

    def selection_images(self, protocol: str) -> "SelectionImages":
        """Describe the images for checkpoint selection: validation images, or test images as in the papers."""
        if protocol == "iid":
            return IID
        split = self.test if protocol == "published" or self.valid is None else self.valid
        return SelectionImages(knows_bias=split.has_bias, has_valid=self.valid is not None)

    def aligned_groups(self) -> Tensor:
        """bool [num_classes, num_biases], True for the bias-aligned (target, bias) pairs."""
        if self.aligned is not None:
            return self.aligned
        return torch.eye(self.num_classes, self.num_biases, dtype=torch.bool)

    def aligned_samples(self, split: Split) -> Tensor:
        """bool [N], True for the bias-aligned samples of `split`, which must have bias labels."""
        return self.aligned_groups().to(split.target.device)[split.target, split.bias]

    def tells_conflicting(self, split: Split | None = None) -> bool:
        """Whether it is known which images of `split` (None: the training split) are bias-conflicting."""
        has_bias = self.train.has_bias if split is None else split.has_bias
        return has_bias and bool(self.aligned_groups().any())

    @property
    def has_features(self) -> bool:
        """Whether the images are features [N, F], which cannot be shown."""
        return len(self.test.image_shape) == 1

    def preprocessing(self) -> Preprocessing | None:
        """How to turn an image file into a network input; None for clips, features, and arrays without image files."""
        channels, *size = self.test.image_shape
        if channels != 3 or len(size) != 2 or len(set(size)) != 1:
            return None
        return Preprocessing(self.prepare or Stretched(size[0]), self.normalize)

    def class_labels(self) -> list[str]:
        """The names of the classes, or their indices as text."""
        return [str(label) for label in self.class_names or range(self.num_classes)]

    def bias_labels(self) -> list[str]:
        """The names of the bias classes, or their indices as text."""
        return [str(label) for label in self.bias_names or range(self.num_biases)]

    def group_shape(self, split: Split) -> torch.Size:
        """(num_classes, num_biases), or (num_classes, 1) for a split without bias labels."""
        return torch.Size((self.num_classes, self.num_biases if split.has_bias else 1))

    def groups(self, split: Split) -> Tensor:
        """The index of each sample's (target, bias) group, int64 [N], in a flattened table of `group_shape`."""
        return split.target * self.num_biases + split.bias if split.has_bias else split.target

    def _with_splits(self, splits: Mapping[str, Split]) -> "BiasedDataset":
        extra = {name: splits[name] for name in self.extra}
        return replace(self, train=splits["train"], valid=splits.get("valid"), test=splits["test"], extra=extra)


def _loaded(split: Split) -> Split:
    return split.in_memory() if split.file_bytes() else split


@dataclass(frozen=True)
class Source:
    """A file or folder that a data set is read from: its path, its content, and where to get it.

    `required` is False for optional files and those that `load` downloads itself.
    """

    path: Path
    content: str  # such as "19,200 training images"
    origin: str  # a URL or instructions for the user
    required: bool = True

    @property
    def is_there(self) -> bool:
        """Whether the file exists, or the folder, with something in it."""
        try:
            return self.path.is_file() or any(self.path.iterdir())
        except OSError:
            return False


@dataclass(frozen=True)
class SelectionImages:
    """What is known about the images for checkpoint selection; None: it depends on the files.

    `knows_bias`: they have bias labels, which default rules may use. `has_valid`: there are
    validation images.
    """

    knows_bias: bool | None
    has_valid: bool | None


IID = SelectionImages(knows_bias=False, has_valid=True)  # under the protocol iid, whatever the data


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(Settings, ABC):
    """The settings of a data set, and the function that loads it.

    The rest of the code knows the fields only through their declarations (`core.settings.Setting`).

    `NUM_TRAIN`: the number of training images in the published protocol, which gives the steps per epoch before the
    data are loaded; None: unknown. `KIND`: the kind of image, one of `KINDS`, which selects the recipe of methods that
    were not published on this data set. `LICENCE` of the images, as stated by their authors; None: unknown. `SIZE`: the
    number of images, and what they take to download and decoded, as far as it is known.
    """

    PREFIX = "data."
    NUM_TRAIN: ClassVar[int | None] = None
    KIND: ClassVar[str] = "photographs"
    LICENCE: ClassVar[str | None] = None
    SIZE: ClassVar[str] = "0.15 MB for each image, decoded at 224 x 224"

    root: str = setting("data", "folder of the downloaded files", place=True)
    protocol: str = setting(
        "holdout",
        "holdout: validation images are held out of training; iid: they are a random part of the training split, with"
        " its bias, and default rules do not use their bias labels; published: the splits of the papers",
        choice(PROTOCOLS, ", ".join(PROTOCOLS)),
        published=False,
    )
    seed: int = setting(
        0,
        "seed of random colours, corruptions and splits, independent of the run's seed",
        must_be(SEEDS_IN_WORDS, lambda seed: seed in SEEDS),
        published=False,
    )

    def sources(self) -> list[Source]:
        """The files and folders that `load` reads, including those that it downloads. Empty: it needs none."""
        return []

    def require_sources(self, name: str) -> None:
        """Raise `UserError` if a required source of the data set `name` is missing."""
        missing = [source.path for source in self.sources() if source.required and not source.is_there]
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise UserError(
                f"{name} needs {missing[0]}{others}, which is missing; for details: {inspect_command(name, self.root)}"
            )

    def selection_images(self) -> "SelectionImages":
        """What the settings determine about the images for checkpoint selection; reads nothing."""
        return SelectionImages(knows_bias=True, has_valid=self.protocol != "published")

    @abstractmethod
    def load(self) -> BiasedDataset:
        """Load the data, or build and cache them. Raises `UserError` for missing or damaged files."""
