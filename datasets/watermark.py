"""ImageNet-W (Li et al., CVPR 2023): test images with a watermark, to which networks trained on ImageNet react.

The package imagenet-w of its authors draws the watermark; its image has the size of the network's input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from debiaslab.core.vision import torchvision
from debiaslab.datasets.base import BiasedDataset
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Preparation, Stretched
from debiaslab.datasets.splits import ImagesOnFile

SPLIT = "watermark"
HELP = "also test on the test images with ImageNet-W's watermark; needs the extra watermark"


@dataclass(frozen=True)
class Watermarked:
    """Resize the image by `prepare`, and draw the watermark on the result, which is square."""

    prepare: Preparation

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.prepare.image_shape

    def __call__(self, image: Image.Image) -> Image.Image:
        return _watermark(self.image_shape[-1])(self.prepare(image))

    def describe(self) -> str:
        return f"{self.prepare.describe()}, with the watermark of ImageNet-W"


def with_watermark(data: BiasedDataset, folder: Path, files: Sequence[Path]) -> BiasedDataset:
    """`data`, with the additional test split `SPLIT`: its test images, which are those of `files`, with the watermark.

    Decoded images are cached in `folder`. Raises `ModuleNotFoundError` without the package.
    """
    prepare = Watermarked(data.prepare or Stretched(data.test.image_shape[-1]))
    _watermark(prepare.image_shape[-1])  # an error in a thread that decodes would be one of the image
    images = mapped_images(folder, f"{data.name}-{SPLIT}", files, prepare)
    split = replace(data.test, images=ImagesOnFile(images, torch.arange(len(files))))
    return replace(data, extra={**data.extra, SPLIT: split}, fingerprint=f"{data.fingerprint}-{SPLIT}")


@cache
def _watermark(size: int) -> Callable[[Image.Image], Image.Image]:
    torchvision("transforms.functional")  # which the package imports
    from imagenet_w import AddWatermark  # an optional package

    draw: Callable[[Image.Image], Image.Image] = AddWatermark(size)
    return draw
