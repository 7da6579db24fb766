"""CIFAR-10 (Krizhevsky, 2009): the original files as torchvision lays them out, or folders of images.

The original files are pickles. Each is verified against its published checksum before it is decoded, by an unpickler
that can create arrays only: no file can make this process run code.
"""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from debiaslab.core.errors import UserError
from debiaslab.core.files import require_writable
from debiaslab.core.vision import torchvision
from debiaslab.datasets.base import Source
from debiaslab.datasets.cifar10_images import Pictures, read_images

FOLDER, IMAGE_FOLDER, LAYOUT = "cifar-10-batches-py", "cifar10", "{train,test}/<class>"
URL, ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "cifar-10-python.tar.gz"
ARCHIVE_CHECKSUM = "c58f30108f718f92721af3b95e74349a"  # MD5, as the authors publish it
ARCHIVE_BYTES = 360 * 2**20  # packed and unpacked

# MD5 of the unpacked files; MD5 collisions do not help an attacker to match a given sum
CHECKSUMS = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

# the only globals that a pickle of arrays, numbers and bytes needs
ARRAY_NAMES = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


@dataclass(frozen=True)
class Origin:
    """Where CIFAR-10 is read from: `content` identifies the pixels, `read` returns training and test images."""

    content: Any
    read: Callable[[], tuple[Pictures, Pictures]]


def cifar10(root: Path, cache: Path) -> Origin:
    """The original files if they are in `root`, else the images in `root`/cifar10.

    If neither exist, reading downloads the original files into `root`. Images are decoded once, into the folder
    `cache`. Raises `UserError`, as does reading, for missing, damaged or misplaced files.
    """
    batches, images = batches_folder(root), root / IMAGE_FOLDER
    if batches is not None:
        return Origin(CHECKSUMS, partial(_read_batches, batches))
    if images.is_dir():
        (train, train_content), (test, test_content) = (read_images(images, cache, part) for part in ("train", "test"))
        return Origin([train_content, test_content], lambda: (train, test))
    return Origin(CHECKSUMS, partial(_download, root))


def cifar10_files(root: Path) -> list[Source]:
    """The sources of `cifar10`."""
    images, batches = root / IMAGE_FOLDER, batches_folder(root)
    if batches is None and images.is_dir():
        origin = "your copy of CIFAR-10, named after the classes; remove the folder to download the original"
        return [Source(images / part, "images of 32x32 pixels, <class>/*", origin) for part in ("train", "test")]
    by_hand = f"put that file, still packed, into {root}, or images into {images / LAYOUT}"
    origin = f"downloaded from {URL} when it is first needed; or {by_hand}"
    return [
        Source(batches or root / FOLDER, "the original CIFAR-10, as torchvision unpacks it", origin, required=False)
    ]


def batches_folder(root: Path) -> Path | None:
    """The folder of the original files: in `root`, or in `root`/CIFAR10, where LfF's code puts it; None if missing."""
    folders = (root / FOLDER, root / "CIFAR10" / FOLDER)
    return next((folder for folder in folders if all((folder / name).is_file() for name in CHECKSUMS)), None)


def _read_batches(folder: Path) -> tuple[Pictures, Pictures]:
    """Training images in the order of the files, and test images."""
    *train, test = (_read_batch(folder / name, checksum) for name, checksum in CHECKSUMS.items())
    images, targets = zip(*train, strict=True)
    return (numpy.concatenate(images), numpy.concatenate(targets)), test


def _read_batch(path: Path, expected: str) -> Pictures:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise UserError(f"{path} is damaged: MD5 {found}, expected {expected}; delete the file to download it again")
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    pixels: NDArray[numpy.uint8] = batch[b"data"]
    return pixels.reshape(-1, 3, 32, 32), numpy.array(batch[b"labels"], dtype=numpy.int64)


class _ArrayUnpickler(pickle.Unpickler):
    """Accepts only arrays, numbers, strings, and lists or dicts of them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} in a file of arrays")
        return super().find_class(module, name)


def _download(root: Path) -> tuple[Pictures, Pictures]:
    """Download (or only unpack, if the archive is in `root`) and read. Nothing is unpickled before it is verified."""
    require_writable(root, "data.root", ARCHIVE_BYTES)
    try:
        fetch = torchvision("datasets.utils").download_and_extract_archive
        fetch(URL, str(root), filename=ARCHIVE, md5=ARCHIVE_CHECKSUM)
    except (RuntimeError, OSError, EOFError, tarfile.TarError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"CIFAR-10 is neither in {root / FOLDER} nor in {root / IMAGE_FOLDER}, and {URL} could not be downloaded"
            f" ({reason}); put that file, still packed, into {root}, or images into"
            f" {root / IMAGE_FOLDER / LAYOUT}, or name another folder with data.root=DIR"
        ) from None
    return _read_batches(root / FOLDER)
