"""CIFAR-10 as image files: `<folder>/{train,test}/<class>/*`, decoded once."""

import hashlib
from itertools import chain, zip_longest
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray

from debiaslab.core.errors import UserError, suggestion
from debiaslab.datasets.image_files import JUNK, image_files
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Stretched

# in the order of their labels
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32  # pixels, height and width

Pictures = tuple[NDArray[numpy.uint8], NDArray[numpy.int64]]  # images [N, 3, 32, 32], targets [N]


def read_images(folder: Path, cache: Path, split: str) -> tuple[Pictures, list[str]]:
    """Read the images of `split`, train or test, in the order of `list_files`, and checksums of pixels and labels.

    Images are decoded once into the folder `cache`, and again only if the files change. Raises `UserError` for a
    missing folder, an unexpected file, or one that is not an image of 32x32 pixels.
    """
    files = list_files(folder / split)
    images = mapped_images(cache, f"cifar10-{split}", [path for path, _ in files], Stretched(SIZE))
    odd = (images.sizes != SIZE).any(dim=1).nonzero()[:, 0].tolist()
    if odd:
        height, width = images.sizes[odd[0]].tolist()
        raise UserError(
            f"{files[odd[0]][0]} is {width}x{height}, images of CIFAR-10 are {SIZE}x{SIZE}; replace or remove the file"
        )
    target = numpy.array([label for _, label in files], dtype=numpy.int64)
    pixels = images(torch.arange(len(files))).numpy()
    return (pixels, target), [images.identity, hashlib.sha256(target.tobytes()).hexdigest()]


def list_files(folder: Path) -> list[tuple[Path, int]]:
    """List the images in the class folders of `folder`, with their labels.

    Sorted by name within each class, and interleaved: first the first file of every class, then the second, and so on,
    so that the images at the end are of all classes.
    """
    expected = f"{folder} must contain one folder of images for each class: {', '.join(CLASSES)}"
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}; {expected}") from None
    for name in CLASSES:
        if name not in names:
            raise UserError(f"{folder / name} is missing; {expected}")
    for name in names:
        if name not in CLASSES and not name.startswith(".") and name.lower() not in JUNK:
            near = suggestion(name, CLASSES).rstrip(";")
            raise UserError(f"{folder / name} is not a class of CIFAR-10{near}; remove it: {expected}")
    by_class = [[(path, label) for path in image_files(folder / name, levels=0)] for label, name in enumerate(CLASSES)]
    return [file for file in chain.from_iterable(zip_longest(*by_class)) if file is not None]
