"""Small folders in the layouts of ImageNet, ImageNet-A and ImageNet-C, made of parts of two real photos."""

from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image

from debiaslab.datasets.imagenet9 import CLASS_OF, IMAGENET_A

OTHER_SYNSET = "n01440764"  # tench: in ImageNet, and in none of the nine classes
NUM_TRAIN, NUM_TEST = 4, 6  # images of each synset


def make_folders(root: Path) -> None:
    """`<root>/imagenet`, `imagenet-a` and `imagenet-c` (fog, and saturate, which its benchmark leaves out)."""
    photos = PhotoParts()
    for synset in [*CLASS_OF, OTHER_SYNSET]:
        for number in range(NUM_TRAIN):
            photos.save(root / "imagenet" / "train" / synset / f"{synset}_{number}.JPEG", number)
        for number in range(NUM_TEST):
            photos.save(root / "imagenet" / "val" / synset / f"ILSVRC2012_val_{number:08}.JPEG", number)
    for synset in [*IMAGENET_A, OTHER_SYNSET]:
        photos.save(root / "imagenet-a" / synset / "0.000116_digital clock.jpg", 0)
    for corruption in ("fog", "saturate"):
        for severity in range(1, 6):
            for synset in CLASS_OF:
                path = root / "imagenet-c" / corruption / str(severity) / synset / "ILSVRC2012_val_00000000.JPEG"
                photos.save(path, 0, size=(32, 32))


class PhotoParts:
    """Saves random parts of the photos, of several sizes, one after the other."""

    def __init__(self) -> None:
        from sklearn.datasets import load_sample_images

        self.photos: Sequence[NDArray[numpy.uint8]] = load_sample_images().images
        self.generator = numpy.random.default_rng(0)

    def save(self, path: Path, number: int, size: tuple[int, int] | None = None) -> None:
        """A part of `size` (width, height) pixels; None: of one that depends on `number`."""
        width, height = size or ((50, 40), (40, 60), (45, 45))[number % 3]
        photo = self.photos[number % len(self.photos)]
        top = self.generator.integers(photo.shape[0] - height)
        left = self.generator.integers(photo.shape[1] - width)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[top : top + height, left : left + width]).save(path, quality=95)


def make_vgg16(path: Path) -> None:
    """A state dict that begins as torchvision's VGG-16 does, with random weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"features.0": (64, 3, 3, 3), "features.2": (64, 64, 3, 3), "classifier.6": (1000, 16)}
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) / (shape[1] * 9) ** 0.5
        state[f"{name}.bias"] = torch.randn(shape[0], generator=generator) / 10
    torch.save(state, path)
