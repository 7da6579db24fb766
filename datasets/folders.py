"""Data sets that are published as image folders, with separate aligned and conflicting training images.

`<root>/<name>/<percent>pct/{align,conflict}/<class>/<id>_<target>_<bias>.png`: Colored MNIST, Corrupted CIFAR-10 and
BFFHQ of DisEnt (Lee et al., NeurIPS 2021), and Dogs & Cats of BiasEnsemble (Lee et al., AAAI 2023).

`holdout` and `published` use the authors' splits. If there is no folder of validation images, `holdout` holds out
`VALID_SHARE` of the aligned and of the conflicting training images of each class, and `published` has no validation
images. `iid` holds out that fraction of the training images of each class, whatever their bias, instead of using the
authors' validation images.
"""

from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import ClassVar

from debiaslab.core.errors import UserError
from debiaslab.core.settings import between, setting
from debiaslab.datasets.augmentation import Augmentation, CropAndFlip
from debiaslab.datasets.base import CIFAR10_STATISTICS, BiasedDataset, DatasetConfig, SelectionImages, Source
from debiaslab.datasets.cache import cache_folder
from debiaslab.datasets.declarations import percent_setting
from debiaslab.datasets.groups import share_of_every_class, with_iid_validation
from debiaslab.datasets.image_files import (
    LabelledFiles,
    content_fingerprint,
    image_files,
    missing,
    name_numbers,
    require_class_folder,
    require_conflicting,
    require_every_class,
    require_label,
)
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Normalization, Stretched
from debiaslab.datasets.splits import Split

VERSION = 1  # of the splits; the fingerprint includes their content as well
PERCENTS = (0.5, 1.0, 2.0, 5.0)
VALID_SHARE = 0.1
ALIGN, CONFLICT = "align", "conflict"

DISENT = "https://github.com/kakaoenterprise/Learning-Debiased-Disentangled"
BIAS_ENSEMBLE = "https://github.com/kakaoenterprise/BiasEnsemble"


@dataclass(frozen=True, kw_only=True)
class AlignConflictFolders(DatasetConfig):
    NAME: ClassVar[str]  # name of the data set and of its folder
    NUM_CLASSES: ClassVar[int]  # and of biases; bias class c is aligned with class c
    PAGES: ClassVar[tuple[str, ...]]  # pages of the authors that link to the download
    AUGMENT: ClassVar[Augmentation | None] = CropAndFlip(padding=4)
    NORMALIZE: ClassVar[Normalization | None] = CIFAR10_STATISTICS

    cache: str | None = setting(None, "folder of the decoded images; None: <root>/cache", place=True)
    percent: float = percent_setting(1.0, PERCENTS)
    image_size: int = setting(224, "height and width that images are stretched to, in pixels", between(1, 4096))

    @property
    def folder(self) -> Path:
        return Path(self.root) / self.NAME

    @property
    def train_folder(self) -> Path:
        """The folder of the percentage; or `train`, as in DeNetDM's copy, if only that exists."""
        folder, other = self.folder / f"{self.percent:g}pct", self.folder / "train"
        return other if other.is_dir() and not folder.is_dir() else folder

    @property
    def valid_folder(self) -> Path:
        """The folder of the authors' validation images: for this percentage, or common to all percentages."""
        own, common = self.train_folder / "valid", self.folder / "valid"
        return own if own.is_dir() or not common.is_dir() else common

    @property
    def test_folder(self) -> Path:
        return self.folder / "test"

    def sources(self) -> list[Source]:
        origin = f"linked on the authors' page: {' or '.join(self.PAGES)}; data.percent selects the folder"
        names = "<id>_<target>_<bias>.png"
        return [
            Source(self.train_folder / ALIGN, f"bias-aligned training images, <class>/{names}", origin),
            Source(self.train_folder / CONFLICT, f"bias-conflicting training images, <class>/{names}", origin),
            Source(
                self.valid_folder,
                f"validation images, {names} or <class>/{names}; without them, training images are held out",
                origin,
                required=False,
            ),
            Source(self.test_folder, f"test images, {names} or <class>/{names}", origin),
        ]

    def selection_images(self) -> SelectionImages:
        """The published data sets have validation images, but a copy may lack them."""
        return SelectionImages(knows_bias=True, has_valid=None if self.protocol == "published" else True)

    def load(self) -> BiasedDataset:
        for folder in (self.train_folder / ALIGN, self.train_folder / CONFLICT, self.test_folder):
            if not folder.is_dir():
                raise missing(folder, self.NAME, self.root)
        files = self._train_files()
        require_conflicting(files, self.NUM_CLASSES)
        self._require_percent(files)
        splits = {"train": self._split("train", files), "test": self._split("test", self._files(self.test_folder))}
        if self.valid_folder.is_dir() and self.protocol != "iid":
            splits["valid"] = self._split("valid", self._files(self.valid_folder))
        elif self.protocol == "holdout":
            train = splits["train"]
            held_out = share_of_every_class(train.target, train.bias, VALID_SHARE, self.seed)
            splits["valid"] = train.select(held_out.nonzero()[:, 0])
            splits["train"] = train.select((~held_out).nonzero()[:, 0])
        data = BiasedDataset(
            name=self.NAME,
            train=splits["train"],
            valid=splits.get("valid"),
            test=splits["test"],
            num_classes=self.NUM_CLASSES,
            num_biases=self.NUM_CLASSES,
            fingerprint=content_fingerprint(VERSION, splits),
            normalize=self.NORMALIZE,
            augment=self.AUGMENT,
        )
        return with_iid_validation(data, VALID_SHARE, self.seed) if self.protocol == "iid" else data

    def _split(self, name: str, part: LabelledFiles) -> Split:
        require_every_class(part, self.NUM_CLASSES)
        of_percent = part.folder.is_relative_to(self.train_folder)
        file_name = f"{self.NAME}-{self.train_folder.name}-{name}" if of_percent else f"{self.NAME}-{name}"
        folder, prepare = cache_folder(self.root, self.cache), Stretched(self.image_size)
        return part.split(mapped_images(folder, file_name, part.files, prepare))

    def _train_files(self) -> LabelledFiles:
        """Aligned images, then conflicting ones. Raises `UserError` for an image in the wrong folder of the two."""
        parts = [self._files(self.train_folder / name) for name in (ALIGN, CONFLICT)]
        for part, aligned in zip(parts, (True, False), strict=True):
            for path, target, bias in zip(part.files, part.target, part.bias, strict=True):
                if (target == bias) != aligned:
                    other = self.train_folder / (CONFLICT if aligned else ALIGN)
                    raise UserError(f"{path}: target {target} and bias {bias} in its name; it belongs in {other}")
        align, conflict = parts
        return LabelledFiles(
            self.train_folder,
            [*align.files, *conflict.files],
            [*align.target, *conflict.target],
            [*align.bias, *conflict.bias],
        )

    def _files(self, folder: Path) -> LabelledFiles:
        files = image_files(folder)
        labels = [name_numbers(path) for path in files]
        for path, (target, bias) in zip(files, labels, strict=True):
            require_label(target, self.NUM_CLASSES, "target", path)
            require_label(bias, self.NUM_CLASSES, "bias", path)
            require_class_folder(path, folder, target)
        return LabelledFiles(folder, files, [target for target, _ in labels], [bias for _, bias in labels])

    def _require_percent(self, train: LabelledFiles) -> None:
        """Raise `UserError` if the images in a folder `train` have another percentage than `data.percent`."""
        if self.train_folder.name != "train":
            return
        conflicting = sum(target != bias for target, bias in zip(train.target, train.bias, strict=True))
        found = 100 * conflicting / len(train.files)
        nearest = min(PERCENTS, key=lambda percent: abs(log(percent / found)))
        if nearest != self.percent:
            raise UserError(
                f"{train.folder}: {found:.2g} % of the images conflict with the bias; use data.percent={nearest:g},"
                f" or put the images of {self.percent:g} % into {self.folder / f'{self.percent:g}pct'}"
            )


@dataclass(frozen=True, kw_only=True)
class BFFHQ(AlignConflictFolders):
    """Faces: the target is age (young or old), the bias gender."""

    NAME = "bffhq"
    NUM_CLASSES = 2
    NUM_TRAIN = 19_200
    LICENCE = "CC BY-NC-SA 4.0 (FFHQ, which the faces are from)"
    SIZE = "21,200 images, 3.2 GB decoded at 224 x 224"
    PAGES = (BIAS_ENSEMBLE, f"{DISENT} (0.5 % only)")

    percent: float = 0.5


@dataclass(frozen=True, kw_only=True)
class DogsAndCats(AlignConflictFolders):
    """Animals: the target is dog or cat, the bias the colour of the fur, bright or dark."""

    NAME = "dogs_and_cats"
    NUM_CLASSES = 2
    NUM_TRAIN = 8_100  # approximately; depends on the percentage
    SIZE = "about 8,100 training images; 0.15 MB for each image, decoded at 224 x 224"
    PAGES = (BIAS_ENSEMBLE,)


@dataclass(frozen=True, kw_only=True)
class FolderMNIST(AlignConflictFolders):
    """DisEnt's Colored MNIST: the target is the digit, the bias its colour."""

    NAME = "cmnist"
    NUM_CLASSES = 10
    NUM_TRAIN = 55_000
    LICENCE = "CC BY-SA 3.0 (MNIST)"
    SIZE = "about 55,000 training images a percentage, 0.1 GB decoded"
    KIND = "digits"
    PAGES = (DISENT, BIAS_ENSEMBLE)
    AUGMENT = None
    NORMALIZE = None

    image_size: int = 28


@dataclass(frozen=True, kw_only=True)
class FolderCIFAR10(AlignConflictFolders):
    """DisEnt's Corrupted CIFAR-10: the target is the object, the bias the corruption."""

    NAME = "cifar10c"
    NUM_CLASSES = 10
    KIND = "small images"
    NUM_TRAIN = 45_000  # approximately; depends on the percentage
    SIZE = "about 45,000 training images a percentage, 0.2 GB decoded"
    PAGES = (DISENT,)

    image_size: int = 32
