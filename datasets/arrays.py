"""Ready-made array folders of the LfF and DeNetDM code: `<folder>/{train,valid}/{images,attrs}.npy`.

The papers test on "valid", so it becomes `test` here. The pickle file in the folder is never opened.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from debiaslab.core.errors import UserError
from debiaslab.datasets.array_files import reading_array
from debiaslab.datasets.base import BiasedDataset, Source
from debiaslab.datasets.cache import fingerprint
from debiaslab.datasets.groups import share_of_every_class
from debiaslab.datasets.splits import Split

VERSION = 2  # of how images are held out; increment it whenever the result changes
MAX_CLASSES = 10  # of Colored MNIST and Corrupted CIFAR-10, the two data sets that exist as array folders


def array_sources(folder: Path) -> list[Source]:
    """The files that `read_arrays` reads."""
    origin = "made by the authors' code (LfF's make_dataset.py); data.arrays names the folder"
    contents = {"images": "images, uint8 [N, H, W, 3]", "attrs": "labels, integers [N, 2 or more]: target, bias, ..."}
    return [
        Source(folder / part / f"{name}.npy", f"{'training' if part == 'train' else 'test'} {content}", origin)
        for part in ("train", "valid")
        for name, content in contents.items()
    ]


def read_arrays(folder: Path, name: str, num_valid: int, seed: int, reverse: bool) -> BiasedDataset:
    """Read the data set in `folder`: images.npy uint8 [N, H, W, 3], attrs.npy integers [N, 2+] (target, bias, ...).

    `num_valid` > 0 holds out about that many training images for validation, drawn with `seed`: the same fraction of
    the aligned and of the conflicting images of each class. As these images cannot be recoloured, they have the biased
    distribution, in which many conflicting groups have no image. `reverse` swaps target and bias. Raises `UserError`
    for a missing folder and for unexpected shapes, dtypes or labels.
    """
    parts = {part: _read_split(folder / part) for part in ("train", "valid")}
    labels = numpy.concatenate([attrs for _, attrs, _ in parts.values()])
    num_classes, num_biases = (int(labels[:, column].max()) + 1 for column in (0, 1))
    absent = sorted(set(range(num_classes)) - set(parts["train"][1][:, 0].tolist()))
    if absent:
        raise UserError(f"{folder / 'train' / 'attrs.npy'}: no image of target class {absent[0]} (of {num_classes})")
    if reverse:
        num_classes, num_biases = num_biases, num_classes
    columns = (1, 0) if reverse else (0, 1)
    train, test = (_as_split(images, attrs, columns) for images, attrs, _ in parts.values())
    valid = None
    if num_valid:
        if num_valid >= len(train):
            raise UserError(
                f"{folder}: {len(train)} training images, too few to keep {num_valid} for validation;"
                " data.protocol=published keeps none"
            )
        held_out = share_of_every_class(train.target, train.bias, num_valid / len(train), seed)
        valid, train = train.select(held_out.nonzero()[:, 0]), train.select((~held_out).nonzero()[:, 0])
    checksums = [checksum for _, _, checksum in parts.values()]
    split = {"version": VERSION} if num_valid else {}
    key = fingerprint(source=checksums, num_valid=num_valid, seed=seed, reverse=reverse, **split)
    return BiasedDataset(name, train, valid, test, num_classes, num_biases, key)


def _read_split(folder: Path) -> tuple[NDArray[numpy.uint8], NDArray[numpy.int64], str]:
    images, attrs = _read(folder / "images.npy"), _read(folder / "attrs.npy")
    if images.dtype != numpy.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"{folder / 'images.npy'}: {images.dtype} {list(images.shape)}, expected uint8 [N, H, W, 3]")
    if attrs.dtype.kind not in "ui" or attrs.ndim != 2 or attrs.shape[1] < 2 or len(attrs) != len(images):
        raise UserError(
            f"{folder / 'attrs.npy'}: {attrs.dtype} {list(attrs.shape)}, expected integers [{len(images)}, 2 or more]"
        )
    if len(images) == 0:
        raise UserError(f"{folder / 'images.npy'}: no image")
    attrs = attrs[:, :2].astype(numpy.int64)
    if attrs.min() < 0 or attrs.max() >= MAX_CLASSES:
        found = int(attrs.min() if attrs.min() < 0 else attrs.max())
        raise UserError(f"{folder / 'attrs.npy'}: label {found}, expected 0 to {MAX_CLASSES - 1}")
    return images, attrs, hashlib.sha256(images.tobytes() + attrs.tobytes()).hexdigest()


def _read(path: Path) -> NDArray[Any]:
    missing = f"{path} is not there; data.arrays names a folder with {{train,valid}}/{{images,attrs}}.npy"
    damaged = f"{path} is not an array of numbers; write it with numpy.save, without objects"
    with reading_array(path, str(path), missing, damaged), path.open("rb") as file:
        array: NDArray[Any] = numpy.lib.format.read_array(file, allow_pickle=False)
    return array


def _as_split(images: NDArray[numpy.uint8], attrs: NDArray[numpy.int64], columns: tuple[int, int]) -> Split:
    channels_first = numpy.ascontiguousarray(images.transpose(0, 3, 1, 2))
    target, bias = (torch.from_numpy(attrs[:, column].copy()) for column in columns)
    return Split(torch.from_numpy(channels_first), target, bias)
