"""The images of an audit: small copies that a small network learns from quickly, with labels, files and duplicates."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from debiaslab.core.progress_bar import progress_bar
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.pixels import MappedImages
from debiaslab.datasets.splits import UNKNOWN_BIAS, ImagesOnFile, middle_frames

SPLITS = ("train", "valid", "test")
DIGIT_SIZE, SMALL_DIGIT_SIZE = 28, 14  # pixels: images up to the first size are reduced to the second
LARGEST_SIZE = 64  # pixels, of the copies of all others
READ_AT_ONCE = 512


@dataclass(frozen=True)
class AuditImages:
    """The images of the splits train, valid and test, one after the other; N in all.

    small: uint8 [N, channels, height, width], the copies. target, bias: int64 [N]; the bias labels are for verification
    only and `UNKNOWN_BIAS` where there is none. conflicting: bool [N], by those labels. split: index into `SPLITS`, and
    row: position within the split, int64 [N]. duplicate: int64 [N], the number of the group of images that are equal
    pixel by pixel, or -1. files: path of each image; None where the images are in no files.
    """

    small: Tensor
    target: Tensor
    bias: Tensor
    conflicting: Tensor
    split: Tensor
    row: Tensor
    duplicate: Tensor
    files: tuple[Path, ...] | None
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.target)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_train(self) -> int:
        """The training images come first."""
        return int((self.split == 0).sum())

    @property
    def has_bias(self) -> bool:
        """Whether the training images have bias labels, which say which of them conflict."""
        return bool((self.bias[: self.num_train] != UNKNOWN_BIAS).all())


def read_images(data: BiasedDataset) -> AuditImages:
    """Read every image of `data` once. Raises `UserError` for images that cannot be read."""
    splits = {name: split for name, split in data.splits().items() if name in SPLITS}
    small, digests = zip(*(_small_copies(split, name) for name, split in splits.items()), strict=True)
    files = [_files(split) for split in splits.values()]
    return AuditImages(
        small=torch.cat(small),
        target=torch.cat([split.target.cpu() for split in splits.values()]),
        bias=torch.cat([split.bias.cpu() for split in splits.values()]),
        conflicting=torch.cat([_conflicting(data, split) for split in splits.values()]),
        split=torch.cat([torch.full((len(split),), SPLITS.index(name)) for name, split in splits.items()]),
        row=torch.cat([torch.arange(len(split)) for split in splits.values()]),
        duplicate=_duplicate_groups([digest for found in digests for digest in found]),
        files=tuple(file for found in files for file in found) if all(files) else None,
        class_names=tuple(data.class_labels()),
    )


def full_images(data: BiasedDataset, split: int, rows: Tensor) -> Tensor:
    """The images uint8 [B, channels, height, width] at the positions `rows` of a split, as the data set has them."""
    return middle_frames(data.splits()[SPLITS[split]].read(rows))


def _small_copies(split: Split, name: str) -> tuple[Tensor, list[bytes]]:
    """(averages over areas, a digest of the pixels of each image)."""
    height, width = (small_size(side) for side in split.image_shape[-2:])
    copies = torch.empty(len(split), split.image_shape[0], height, width, dtype=torch.uint8)
    digests: list[bytes] = []
    parts = torch.split(torch.arange(len(split)), READ_AT_ONCE)
    for rows in progress_bar(parts, len(parts), f"reading {len(split):,} {name} images"):
        images = middle_frames(split.read(rows)).cpu()
        copies[rows] = adaptive_avg_pool2d(images.float(), (height, width)).round().to(torch.uint8)
        digests += [hashlib.blake2b(image, digest_size=16).digest() for image in images.contiguous().numpy()]
    return copies, digests


def small_size(side: int) -> int:
    """Pixels of a side of the copy of an image whose side has `side`."""
    return min(side, SMALL_DIGIT_SIZE) if side <= DIGIT_SIZE else min(side, LARGEST_SIZE)


def _conflicting(data: BiasedDataset, split: Split) -> Tensor:
    if not data.tells_conflicting(split):
        return torch.zeros(len(split), dtype=torch.bool)
    return ~data.aligned_samples(split).cpu()


def decoded_files(split: Split) -> tuple[MappedImages, Tensor] | None:
    """(reader of the images of a split, their rows int64 [N]) if each image is a file; else None."""
    if isinstance(split.images, ImagesOnFile) and isinstance(split.images.reader, MappedImages):
        return split.images.reader, split.images.rows
    return None


def _files(split: Split) -> list[Path]:
    decoded = decoded_files(split)
    return [] if decoded is None else [decoded[0].files[row] for row in decoded[1].tolist()]


def _duplicate_groups(digests: list[bytes]) -> Tensor:
    positions: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        positions.setdefault(digest, []).append(position)
    group = torch.full((len(digests),), -1)
    for number, members in enumerate(found for found in positions.values() if len(found) > 1):
        group[members] = number
    return group
