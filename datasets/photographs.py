"""What data sets of photographs in folders share: splits, preprocessing, augmentation, a check for missing images.

The training images are augmented by `data.augment`; for `resized_crop` they are stretched and kept larger, so that
crops are drawn from the original images.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from debiaslab.core.settings import between, choice, setting
from debiaslab.datasets.augmentation import Augmentation, CropAndFlip, RandomResizedCropAndFlip
from debiaslab.datasets.base import IMAGENET_STATISTICS, BiasedDataset, DatasetConfig, SelectionImages
from debiaslab.datasets.cache import cache_folder
from debiaslab.datasets.image_files import LabelledFiles, content_fingerprint, require_every_class
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Preparation, ResizedCenterCrop, Stretched

VERSION = 1  # of the splits; the fingerprint includes their content as well
VALID_SHARE = 0.1  # of the training images of every class, which `iid` holds out
CROP_SCALE = (0.7, 1.0)  # fraction of the area that a random crop keeps


@dataclass(frozen=True, kw_only=True)
class Photographs(DatasetConfig):
    """`holdout` and `published` use the splits of `files`. `iid` holds out `VALID_SHARE` of the training images of each
    class instead of using the authors' validation images, unless these are a random part of the training images anyway
    (`IID_VALID`)."""

    NAME: ClassVar[str]
    CLASSES: ClassVar[tuple[str, ...]] = ()
    BIASES: ClassVar[tuple[str, ...]]
    NUM_IMAGES: ClassVar[Mapping[str, int]] = {}  # published, by split
    CROP: ClassVar[type[ResizedCenterCrop] | None] = ResizedCenterCrop  # None: images are stretched to `image_size`
    IID_VALID: ClassVar[bool] = False

    cache: str | None = setting(None, "folder of the decoded images; None: <root>/cache", place=True)
    image_size: int = setting(224, "height and width of the network's input, in pixels", between(1, 4096))
    augment: str = setting(
        "none",
        "augmentation of training images: resized_crop (70 to 100 % of the area, and flips), flip, none",
        choice(("resized_crop", "flip", "none")),
        published=False,
    )

    @abstractmethod
    def files(self) -> dict[str, LabelledFiles]:
        """The images of train, test and, if there are validation images, valid; and of additional test splits."""

    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by index."""
        return self.CLASSES

    def selection_images(self) -> SelectionImages:
        return SelectionImages(knows_bias=True, has_valid=True)

    def load(self) -> BiasedDataset:
        self.require_sources(self.NAME)
        files, classes = self.files(), self.classes()
        notes = tuple(
            f"{name}: {len(files[name].files):,} images, of {count:,} published; is the download complete?"
            for name, count in self.NUM_IMAGES.items()
            if name in files and len(files[name].files) != count
        )
        if self.protocol == "iid" and not self.IID_VALID:
            files["train"], files["valid"] = files["train"].hold_out(VALID_SHARE, self.seed)
        splits, sizes = {}, {}
        for name, part in files.items():
            require_every_class(part, len(classes))
            prepare = self.training_preparation() if name == "train" else self.preparation(name)
            images = mapped_images(cache_folder(self.root, self.cache), f"{self.NAME}-{name}", part.files, prepare)
            splits[name], sizes[name] = part.split(images), images.sizes
        return BiasedDataset(
            name=self.NAME,
            train=splits["train"],
            valid=splits.get("valid"),
            test=splits["test"],
            num_classes=len(classes),
            num_biases=len(self.BIASES),
            fingerprint=content_fingerprint(VERSION, splits),
            extra={name: split for name, split in splits.items() if name not in ("train", "valid", "test")},
            normalize=IMAGENET_STATISTICS,
            prepare=self.preparation("test"),
            augment=self.augmentation(sizes["train"]),
            notes=notes,
            class_names=classes,
            bias_names=self.BIASES,
        )

    @property
    def resize(self) -> int:
        """The size that images are resized to before they are cropped to `image_size`."""
        return self.image_size if self.CROP is None else round(self.image_size * 256 / 224)

    def preparation(self, split: str) -> Preparation:
        """How the images of a split are resized to a common size if they are not augmented."""
        return Stretched(self.image_size) if self.CROP is None else self.CROP(self.resize, self.image_size)

    def training_preparation(self) -> Preparation:
        return Stretched(self.resize) if self.augment == "resized_crop" else self.preparation("train")

    def augmentation(self, sizes: Tensor) -> Augmentation | None:
        """`sizes` int [N, 2] are the (height, width) of the training images."""
        if self.augment == "resized_crop":
            center, square = self.image_size / self.resize, self.CROP is ResizedCenterCrop
            return RandomResizedCropAndFlip(self.image_size, sizes, CROP_SCALE, center=center, square=square)
        return CropAndFlip(padding=0) if self.augment == "flip" else None
