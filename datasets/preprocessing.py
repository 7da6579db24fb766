"""The preprocessing of images: resizing to a common size and normalisation. It is recorded with the weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from debiaslab.core.settings import require, settings
from debiaslab.datasets.image_decoding import convert_to_rgb, read_image

# mean and standard deviation of each channel, for images in [0, 1]
Normalization = tuple[tuple[float, ...], tuple[float, ...]]


class Preparation(Protocol):
    """A frozen dataclass that resizes images to a common size."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the results."""
        ...

    def __call__(self, image: Image.Image) -> Image.Image: ...

    def describe(self) -> str:
        """For a reader."""
        ...


@dataclass(frozen=True)
class Stretched:
    """Stretch the image to `size` x `size` pixels (bilinear, antialiased)."""

    size: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    def __call__(self, image: Image.Image) -> Image.Image:
        if image.size == (self.size, self.size):
            return image
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR)

    def describe(self) -> str:
        return f"stretched to {self.size} x {self.size} pixels (bilinear, antialiased)"


@dataclass(frozen=True)
class ResizedCenterCrop:
    """Resize the short side to `resize` pixels, then take the centre crop of `crop` x `crop` pixels.

    As torchvision's Resize and CenterCrop (bilinear, antialiased). `crop` is at most `resize`.
    """

    resize: int
    crop: int

    def __post_init__(self) -> None:
        require(0 < self.crop <= self.resize, "crop", self.crop, f"1 to resize={self.resize}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.crop, self.crop)

    def __call__(self, image: Image.Image) -> Image.Image:
        short = min(image.size)
        width, height = (self.resize * side // short for side in image.size)
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + self.crop, top + self.crop))

    def describe(self) -> str:
        return f"short side to {self.resize} pixels (bilinear, antialiased), the middle {self.crop} x {self.crop} of it"


@dataclass(frozen=True)
class StretchedCenterCrop(ResizedCenterCrop):
    """Stretch the image to `resize` x `resize` pixels, then take the centre crop of `crop` x `crop` pixels."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return super().__call__(Stretched(self.resize)(image))

    def describe(self) -> str:
        return f"{Stretched(self.resize).describe()}, the middle {self.crop} x {self.crop} of it"


PREPARATIONS: dict[str, type[Stretched] | type[ResizedCenterCrop]] = {
    kind.__name__: kind for kind in (Stretched, ResizedCenterCrop, StretchedCenterCrop)
}


def describe_preparation(prepare: Preparation) -> dict[str, Any]:
    """The preparation as plain values: its kind and its sizes."""
    return {"kind": type(prepare).__name__, **asdict(prepare)}  # type: ignore[call-overload]


def decode_image(path: Path, prepare: Preparation) -> tuple[NDArray[numpy.uint8], list[int]]:
    """Decode an image file: pixels uint8 [channels, height, width], and [height, width] of the original.

    Raises `BrokenImage`.
    """
    pixels, size = read_image(path, prepare)
    return numpy.ascontiguousarray(pixels.transpose(2, 0, 1)), size


@dataclass(frozen=True)
class Preprocessing:
    """What evaluation does to an image: RGB and upright, `prepare`, values in [0, 1], `normalize` if there is one."""

    prepare: Preparation
    normalize: Normalization | None

    def __call__(self, image: Image.Image | Path | str) -> Tensor:
        """Turn an image or an image file into a network input: float32 [channels, height, width].

        Raises `BrokenImage` for a file that cannot be read.
        """
        if isinstance(image, Image.Image):
            pixels = numpy.asarray(self.prepare(convert_to_rgb(image))).transpose(2, 0, 1)
        else:
            pixels, _ = decode_image(Path(image), self.prepare)
        values = torch.tensor(pixels).to(torch.float32).div_(255)
        if self.normalize is None:
            return values
        mean, std = (torch.tensor(each)[:, None, None] for each in self.normalize)
        return values.sub_(mean).div_(std)

    def facts(self) -> dict[str, Any]:
        """The preprocessing as plain values, for a record."""
        normalize = None if self.normalize is None else [list(values) for values in self.normalize]
        return {"color": "RGB", "prepare": describe_preparation(self.prepare), "normalize": normalize}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `facts`. Raises `ValueError`, `KeyError`, `TypeError` or `UserError` for other values."""
        sizes = dict(facts["prepare"])
        prepare = settings(PREPARATIONS[sizes.pop("kind")], sizes, "")
        if facts["normalize"] is None:
            return cls(prepare, None)
        mean, std = (tuple(float(value) for value in values) for values in facts["normalize"])
        require(len(mean) == len(std) == prepare.image_shape[0], "normalize", facts["normalize"], "one per channel")
        return cls(prepare, (mean, std))
