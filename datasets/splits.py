"""Images with labels, in memory or on file."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from debiaslab.core.memory import rows as gathered_rows

READ_AT_ONCE = 256  # images to load from file at a time
UNKNOWN_BIAS = -1  # the bias label of every sample of a split without bias labels


def middle_frames(images: Tensor) -> Tensor:
    """The middle frame of each clip [B, channels, frames, height, width]; images stay as they are."""
    return images[:, :, images.shape[2] // 2] if images.ndim == 5 else images


class Reader(Protocol):
    """Reads images that are not in memory, from a file or as clips of videos. Called from several threads."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width), (channels, frames, height, width), or (F,) for features."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """uint8 for images and clips, float32 for features."""
        ...

    @property
    def num_draws(self) -> int:
        """The number of random numbers per image; 0: each row is one fixed image."""
        ...

    def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        """Read the images [B, *image_shape] of `rows` int64 [B].

        `draws` float32 [B, num_draws] in [0, 1) select a view of each image, such as a clip of a video; None: the
        middle one. A row may occur several times with different draws. All tensors are on the CPU.
        """
        ...


@dataclass(frozen=True)
class ImagesOnFile:
    """Images that are read on demand by `reader` from its `rows`, int64 [N] on the CPU."""

    reader: Reader
    rows: Tensor

    @property
    def shape(self) -> torch.Size:
        """[N, *image_shape]."""
        return torch.Size((len(self.rows), *self.reader.image_shape))

    @property
    def device(self) -> torch.device:
        return self.rows.device

    def __getitem__(self, index: Tensor) -> "ImagesOnFile":
        """The images at `index`, int64 [M], still on file."""
        return ImagesOnFile(self.reader, self.rows[index])

    def read(self, index: Tensor, draws: Tensor | None = None) -> Tensor:
        """Read the images uint8 [B, *image_shape] at `index` int64 [B]; for `draws`, see `Reader`."""
        return self.reader(gathered_rows(self.rows, index.to(self.rows.device)), draws)

    def in_memory(self) -> Tensor:
        """All images, [N, *image_shape]. Only for a reader whose rows are fixed images."""
        images = torch.empty(self.shape, dtype=self.reader.dtype)
        for part, chosen in zip(torch.split(images, READ_AT_ONCE), torch.split(self.rows, READ_AT_ONCE), strict=True):
            part.copy_(self.reader(chosen))
        return images


@dataclass(frozen=True)
class Split:
    """Images with target and bias, int64 [N], class indices from 0.

    `images` are in memory, uint8 [N, channels, height, width], or on file; they may be features that another network
    has computed instead, float32 [N, F]. All bias labels are `UNKNOWN_BIAS` if the bias is unknown. A sample's
    prediction is the mean over `views` evenly spaced views, if the reader has several.
    """

    images: Tensor | ImagesOnFile
    target: Tensor
    bias: Tensor
    views: int = 1

    def __len__(self) -> int:
        return len(self.target)

    @property
    def reader(self) -> Reader | None:
        """The reader of the images, if they are on file."""
        return self.images.reader if isinstance(self.images, ImagesOnFile) else None

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    @property
    def has_bias(self) -> bool:
        """Whether the bias labels are known."""
        return bool((self.bias != UNKNOWN_BIAS).all())

    def read(self, index: Tensor, draws: Tensor | None = None) -> Tensor:
        """Read the images uint8 [B, *image_shape] at `index` int64 [B]; for `draws`, see `Reader`."""
        if isinstance(self.images, ImagesOnFile):
            return self.images.read(index, draws)
        return gathered_rows(self.images, index.to(self.images.device))

    def to(self, device: torch.device) -> "Split":
        """On `device`: the labels, and the images unless they are on file."""
        images = self.images if isinstance(self.images, ImagesOnFile) else self.images.to(device)
        return replace(self, images=images, target=self.target.to(device), bias=self.bias.to(device))

    def select(self, index: Tensor) -> "Split":
        """The samples at `index`, int64 [M], in that order."""
        return replace(self, images=self.images[index], target=self.target[index], bias=self.bias[index])

    def all_images(self) -> Tensor:
        """All images, uint8 [N, *image_shape], read if they are on file; each of them must have a single view."""
        return self.images.in_memory() if isinstance(self.images, ImagesOnFile) else self.images

    def in_memory(self) -> "Split":
        """The same with the images in memory."""
        return replace(self, images=self.all_images())

    def file_bytes(self) -> int:
        """Size of the images that `in_memory` would read."""
        if self.reader is None or self.reader.num_draws:
            return 0
        return self.images.shape.numel() * self.reader.dtype.itemsize
