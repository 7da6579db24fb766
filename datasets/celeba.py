"""CelebA (Liu et al., ICCV 2015) as used in debiasing: one attribute of a face is the target, another one the bias.

All protocols use the official splits: 162,770 training, 19,867 validation and 19,962 test images of the same
distribution.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.settings import between, known_as, require, setting
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.datasets.base import IMAGENET_STATISTICS, BiasedDataset, DatasetConfig, SelectionImages, Source
from debiaslab.datasets.cache import cache_folder, fingerprint
from debiaslab.datasets.groups import usual_pairs
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Stretched
from debiaslab.datasets.splits import ImagesOnFile, Split

ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose"),
    *("Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses"),
    *("Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache"),
    *("Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks"),
    *("Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick"),
    *("Wearing_Necklace", "Wearing_Necktie", "Young"),
)
SPLITS = ("train", "valid", "test")  # 0, 1, 2 in the file

# file -> MD5 (there are no official ones for the files of the Kaggle archive)
LABELS, PARTITION = "list_attr_celeba", "list_eval_partition"
CHECKSUMS = {
    f"{LABELS}.txt": "75e246fa4810816ffd6ee81facbd244c",
    f"{PARTITION}.txt": "d32c9cbf5e040fd4025c592c306e6668",
}
PAGE = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


ATTRIBUTE = known_as("attribute", ATTRIBUTES, "data.")


@dataclass(frozen=True, kw_only=True)
class CelebA(DatasetConfig):
    NUM_TRAIN = 162_770
    SIZE = "202,599 images: 1.4 GB to download, 30.5 GB decoded at 224 x 224"
    LICENCE = "for non-commercial research only (the agreement of CelebA)"

    cache: str | None = setting(None, "folder of the decoded images; None: <root>/cache", place=True)
    target_attribute: str = setting("Blond_Hair", "attribute to predict", ATTRIBUTE, label=True)
    bias_attribute: str = setting("Male", "attribute that correlates with it", ATTRIBUTE, label=True)
    image_size: int = setting(224, "height and width that images are stretched to, in pixels", between(1, 4096))

    def __post_init__(self) -> None:
        super().__post_init__()
        other = f"another attribute than data.target_attribute={self.target_attribute}"
        require(self.target_attribute != self.bias_attribute, "bias_attribute", self.bias_attribute, other)

    def sources(self) -> list[Source]:
        return [
            Source(
                self._images(), "202,599 aligned and cropped faces, .jpg", f"img_align_celeba.zip of {PAGE}, unpacked"
            ),
            Source(self._file(LABELS), "their 40 attributes", f"Anno/{LABELS}.txt of the same page"),
            Source(self._file(PARTITION), "their splits", f"Eval/{PARTITION}.txt of the same page"),
        ]

    def selection_images(self) -> SelectionImages:
        return SelectionImages(knows_bias=True, has_valid=True)

    def load(self) -> BiasedDataset:
        self.require_sources("celeba")
        names, labels = _read_labels(self._file(LABELS), (self.target_attribute, self.bias_attribute))
        split = _read_partition(self._file(PARTITION), names)
        folder = self._images()
        absent = set(names) - {path.name for path in folder.iterdir()}
        if absent:
            raise UserError(
                f"{folder} lacks {len(absent)} images, such as {min(absent)}; unpack img_align_celeba.zip again"
            )
        files = [folder / name for name in names]
        images = mapped_images(cache_folder(self.root, self.cache), "celeba", files, Stretched(self.image_size))
        rows = [(split == number).nonzero()[:, 0] for number in range(len(SPLITS))]
        train, valid, test = (
            Split(ImagesOnFile(images, chosen), labels[chosen, 0], labels[chosen, 1]) for chosen in rows
        )
        return BiasedDataset(
            name="celeba",
            train=train,
            valid=valid,
            test=test,
            num_classes=2,
            num_biases=2,
            fingerprint=fingerprint(pixels=images.identity, split=split.tolist(), labels=labels.tolist()),
            normalize=IMAGENET_STATISTICS,
            augment=CropAndFlip(padding=0),
            aligned=usual_pairs(train.target, train.bias, 2, 2),
            class_names=(f"not {self.target_attribute}", self.target_attribute),
            bias_names=(f"not {self.bias_attribute}", self.bias_attribute),
        )

    def _folder(self) -> Path:
        return Path(self.root) / "celeba"

    def _images(self) -> Path:
        """The folder of the images; in the Kaggle archive it is inside another folder of the same name."""
        folder = self._folder() / "img_align_celeba"
        return folder / folder.name if (folder / folder.name).is_dir() else folder

    def _file(self, name: str) -> Path:
        """The official file, or the CSV of the Kaggle archive if only that exists."""
        official, csv = (self._folder() / f"{name}.{kind}" for kind in ("txt", "csv"))
        return csv if csv.is_file() and not official.is_file() else official


def _read_labels(path: Path, attributes: Sequence[str]) -> tuple[list[str], Tensor]:
    """Read (image names, int64 [N, len(attributes)] of 0 or 1)."""
    lines = _read_lines(path)
    if path.suffix == ".txt":
        lines = lines[1:]  # the first line of the official file is the number of images
    header, *rows = lines or [[]]
    header = [name for name in header if name != "image_id"]
    for name in attributes:
        if name not in header or not rows:
            raise UserError(f"{path} has no attribute {name}; replace it by the original file")
    values = {"1": 1, "-1": 0, "0": 0}
    labels = []
    for row in rows:
        if len(row) != len(header) + 1 or not set(row[1:]) <= set(values):
            raise UserError(f"{path}: cannot read the attributes of {row[0]}; replace it by the original file")
        labels.append([values[row[1 + header.index(name)]] for name in attributes])
    return [row[0] for row in rows], torch.tensor(labels)


def _read_partition(path: Path, names: Sequence[str]) -> Tensor:
    """Read the index in `SPLITS` of each image, int64 [N]."""
    rows = [row for row in _read_lines(path) if row != ["image_id", "partition"]]
    splits = {row[0]: row[1] for row in rows if len(row) == 2 and row[1] in ("0", "1", "2")}
    absent = set(names) - set(splits)
    if absent:
        raise UserError(f"{path} has no split for {min(absent)}; replace it by the original file")
    return torch.tensor([int(splits[name]) for name in names])


def _read_lines(path: Path) -> list[list[str]]:
    """Read the values in each line. Raises `UserError` if it is not the official file, or cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    expected, found = CHECKSUMS.get(path.name), hashlib.md5(content).hexdigest()
    if expected not in (None, found):
        raise UserError(f"{path} is damaged: MD5 {found}, expected {expected}; download it again from {PAGE}")
    text = content.decode("utf-8", errors="replace")
    return [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
