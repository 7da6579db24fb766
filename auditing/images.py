"""The images of an audit: downsampled so that a small network learns from them quickly, with labels and files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from debiaslab.core.errors import UserError
from debiaslab.core.progress_bar import progress_bar
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.pixels import MappedImages
from debiaslab.datasets.splits import ImagesOnFile, middle_frames

SPLITS = ("train", "valid", "test")
DIGIT_SIZE, SMALL_DIGIT_SIZE = 28, 14  # pixels: sides up to the first size are downsampled to the second
MAX_SIZE = 64  # pixels: longer sides are downsampled to it
CHUNK = 512  # images to read at a time


@dataclass(frozen=True)
class AuditImages:
    """All images of the splits train, valid and test, N in all; training images come first.

    pixels: uint8 [N, channels, height, width], downsampled. target, bias: int64 [N]; bias labels serve verification
    only, and are `UNKNOWN_BIAS` where there are none. conflicting: bool [N], by these bias labels. split: index into
    `SPLITS`; row: position within the split, both int64 [N]. duplicate: int64 [N], number of the group of images with
    identical pixels, or -1. files: the path of each image; None if images are not files.
    """

    pixels: Tensor
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
        return int((self.split == 0).sum())


def read_images(data: BiasedDataset) -> AuditImages:
    """Read and downsample every image of `data`. Raises `UserError` for features, and images that cannot be read."""
    if data.has_features:
        raise UserError("an audit looks at images, and these data are features; leave data.features out")
    splits = {name: split for name, split in data.splits().items() if name in SPLITS}
    pixels, digests = zip(*(_downsample(split, name) for name, split in splits.items()), strict=True)
    files = [_files(split) for split in splits.values()]
    return AuditImages(
        pixels=torch.cat(pixels),
        target=torch.cat([split.target.cpu() for split in splits.values()]),
        bias=torch.cat([split.bias.cpu() for split in splits.values()]),
        conflicting=torch.cat([_conflicting(data, split) for split in splits.values()]),
        split=torch.cat([torch.full((len(split),), SPLITS.index(name)) for name, split in splits.items()]),
        row=torch.cat([torch.arange(len(split)) for split in splits.values()]),
        duplicate=_group_duplicates([digest for of_split in digests for digest in of_split]),
        files=tuple(file for of_split in files for file in of_split) if all(files) else None,
        class_names=tuple(data.class_labels()),
    )


def full_size_images(data: BiasedDataset, split: int, rows: Tensor) -> Tensor:
    """The images uint8 [B, channels, height, width] at `rows` int64 [B] of split number `split`, not downsampled."""
    return middle_frames(data.splits()[SPLITS[split]].read(rows))


def _downsample(split: Split, name: str) -> tuple[Tensor, list[bytes]]:
    """(images averaged over areas, a digest of the original pixels of each image)."""
    height, width = (downsampled_size(side) for side in split.image_shape[-2:])
    pixels = torch.empty(len(split), split.image_shape[0], height, width, dtype=torch.uint8)
    digests: list[bytes] = []
    chunks = torch.split(torch.arange(len(split)), CHUNK)
    for rows in progress_bar(chunks, len(chunks), f"reading {len(split):,} {name} images"):
        images = middle_frames(split.read(rows)).cpu()
        pixels[rows] = adaptive_avg_pool2d(images.float(), (height, width)).round().to(torch.uint8)
        digests += [hashlib.blake2b(image, digest_size=16).digest() for image in images.contiguous().numpy()]
    return pixels, digests


def downsampled_size(side: int) -> int:
    """Height or width, in pixels, to which `side` is downsampled."""
    return min(side, SMALL_DIGIT_SIZE) if side <= DIGIT_SIZE else min(side, MAX_SIZE)


def _conflicting(data: BiasedDataset, split: Split) -> Tensor:
    if not data.tells_conflicting(split):
        return torch.zeros(len(split), dtype=torch.bool)
    return ~data.aligned_samples(split).cpu()


def decoded_files(split: Split) -> tuple[MappedImages, Tensor] | None:
    """(reader of the files of a split, its rows int64 [N]); None unless each image is a file."""
    if isinstance(split.images, ImagesOnFile) and isinstance(split.images.reader, MappedImages):
        return split.images.reader, split.images.rows
    return None


def _files(split: Split) -> list[Path]:
    decoded = decoded_files(split)
    return [] if decoded is None else [decoded[0].files[row] for row in decoded[1].tolist()]


def _group_duplicates(digests: list[bytes]) -> Tensor:
    """The number of the group of images with the same digest, int64 [N]; -1 for a digest that occurs once."""
    positions: dict[bytes, list[int]] = {}
    for position, digest in enumerate(digests):
        positions.setdefault(digest, []).append(position)
    group = torch.full((len(digests),), -1)
    for number, members in enumerate(members for members in positions.values() if len(members) > 1):
        group[members] = number
    return group
