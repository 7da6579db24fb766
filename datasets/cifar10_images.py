"""CIFAR-10 as image files: `<folder>/{train,test}/<class>/*`, decoded once."""

from collections.abc import Mapping
from itertools import chain, zip_longest
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from core.errors import UserError, suggestion
from datasets.cache import cached, fingerprint
from datasets.parallel import in_parallel

VERSION = 1  # of what is decoded; raise it with every change of the result

# in the order of their labels
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32  # pixels, height and width
CHUNK = 500  # files that a thread decodes at a time

LAYOUT = "images belong into {train,test}/<class>/"

Pictures = tuple[NDArray[numpy.uint8], NDArray[numpy.int64]]  # images [N, 3, 32, 32], targets [N]
Files = list[tuple[Path, int]]  # with the class


def read_images(folder: Path, cache: Path) -> tuple[Pictures, Pictures]:
    """Training and test images, from the folder `cache` if these very files were decoded before.

    In the order of the files' names within a class; the first files of all classes come first, then the second ones,
    and so on, so that the last images of a split are of all classes. Files are known by name, size and time of change.
    Raises `UserError` for a folder or file that is missing, does not belong, or cannot be read.
    """
    files = {split: list_files(folder / split) for split in ("train", "test")}
    facts = {split: [_facts(path) for path, _ in listed] for split, listed in files.items()}
    key = fingerprint(version=VERSION, files=facts)
    tensors = cached(cache, "cifar10", key, lambda: _decode(files))
    train, test = (
        (tensors[f"{split}/images"].numpy(), tensors[f"{split}/target"].numpy()) for split in ("train", "test")
    )
    return train, test


def list_files(folder: Path) -> Files:
    """The files in the class folders of `folder`, in the order of `read_images`. Hidden files are left out."""
    expected = f"{folder} must hold one folder of images for each class: {', '.join(CLASSES)}"
    classes = _names(folder)
    for name in CLASSES:
        if name not in classes:
            raise UserError(f"{folder / name} is missing; {expected}")
    for name in classes:
        if name not in CLASSES:
            near = suggestion(name, CLASSES).rstrip(";")
            raise UserError(f"{folder / name} is not a class of CIFAR-10{near}; remove it: {expected}")
    by_class: list[Files] = []
    for label, name in enumerate(CLASSES):
        by_class.append([(folder / name / file, label) for file in _names(folder / name)])
        if not by_class[-1]:
            raise UserError(f"{folder / name} holds no image; put the images of that class there")
    return [file for file in chain.from_iterable(zip_longest(*by_class)) if file is not None]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror or error}; {LAYOUT}") from None


def _facts(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; replace or remove the file") from None
    return f"{path.parent.name}/{path.name}", stat.st_size, stat.st_mtime_ns


def _decode(files: Mapping[str, Files]) -> dict[str, Tensor]:
    tensors = {}
    for split, listed in files.items():
        images = numpy.empty((len(listed), 3, SIZE, SIZE), dtype=numpy.uint8)

        def decode(start: int, listed: Files = listed, images: NDArray[numpy.uint8] = images) -> None:
            for index, (path, _) in enumerate(listed[start : start + CHUNK], start):
                images[index] = decode_image(path)

        in_parallel(decode, range(0, len(listed), CHUNK), f"decoding CIFAR-10, {split}")
        tensors[f"{split}/images"] = torch.from_numpy(images)
        tensors[f"{split}/target"] = torch.tensor([label for _, label in listed])
    return tensors


def decode_image(path: Path) -> NDArray[numpy.uint8]:
    """uint8 [3, 32, 32]. Raises `UserError` for a file that is no image of that size, or damaged."""
    fix = "replace or remove the file"
    try:
        with Image.open(path) as image:
            if image.size != (SIZE, SIZE):
                width, height = image.size
                raise UserError(f"{path} is {width}x{height}, images of CIFAR-10 are {SIZE}x{SIZE}; {fix}")
            return numpy.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except UnidentifiedImageError:
        raise UserError(f"{path} is not an image; {fix}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read the image {path}: {str(error).splitlines()[0]}; {fix}") from None
