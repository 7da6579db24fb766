"""Decode and resize image files once, into a file that is memory-mapped from then on.

The file is in the safetensors format: "images" uint8 [N, channels, height, width], "sizes" int32 [N, 2], the (height,
width) of each original, and "sums" int64 [N], a checksum of the pixels of each image (XXH3, 64 bits). Each image is
verified when it is read, so that opening the file takes no time and damaged images are never used. The metadata has a
checksum of sizes and sums, and digests of blocks of pixels, which identify the content.
"""

import hashlib
import json
import os
import struct
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy
import torch
import xxhash
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from debiaslab.core import memory
from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write, hold_lock, remove_leftovers, require_writable
from debiaslab.core.progress_bar import progress_bar
from debiaslab.core.tensor_files import Damaged
from debiaslab.datasets.cache import content_of, fingerprint, say_rebuilt
from debiaslab.datasets.preprocessing import Preparation, decode_image, describe_preparation

VERSION = 2  # of the file; increment it whenever its content changes
BLOCK = 64 * 2**20  # bytes of pixels per digest
ANNOUNCED = 256 * 2**20  # bytes; larger files are announced even without a progress bar
READ_AHEAD = 16 * 2**10  # bytes of an image from which reading ahead is worth a system call
MARGIN = 64 * 2**20  # bytes to leave free on the disk


@dataclass(frozen=True)
class MappedImages:
    """A `Reader` of the images in a file; a row is an image's index in the file."""

    path: Path
    images: Tensor  # uint8 [N, channels, height, width], memory-mapped, not verified
    sizes: Tensor  # int32 [N, 2], original (height, width)
    sums: NDArray[numpy.int64]  # [N], checksum of each image
    identity: str  # digest of the pixels
    files: Sequence[Path]  # the original of each image
    prepare: Preparation
    num_draws: int = 0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        """See `Reader`. Raises `UserError` for a damaged image whose original has changed."""
        self._read_ahead(rows)
        pixels = memory.rows(self.images, rows)
        for place in numpy.flatnonzero(_sums(pixels.numpy()) != self.sums[rows.numpy()]):
            pixels[place] = torch.from_numpy(self._repair(int(rows[place])))
        return pixels

    def _read_ahead(self, rows: Tensor) -> None:
        """Have the system read all these images from the disk at once, if they are not in memory and large enough for
        that to be faster than reading one after the other."""
        size = self.images[0].nbytes
        if size < READ_AHEAD or not hasattr(os, "posix_fadvise"):
            return
        for row in rows.tolist():
            os.posix_fadvise(self._file.fileno(), self._start + row * size, size, os.POSIX_FADV_WILLNEED)

    @cached_property
    def _start(self) -> int:
        """The bytes in front of the pixels."""
        return _header_size(len(self), self.image_shape)

    @cached_property
    def _file(self) -> BufferedReader:
        return self.path.open("rb")

    def _repair(self, row: int) -> NDArray[numpy.uint8]:
        """Decode the original of a damaged image again, and repair the file if it is writable."""
        pixels = decode_image(self.files[row], self.prepare)[0]
        if _sums(pixels[None]) != self.sums[row]:
            raise UserError(f"{self.path} is damaged, and {self.files[row]} has changed; delete the former")
        offset = self._start + row * pixels.nbytes
        with suppress(OSError), self.path.open("r+b") as file:
            file.seek(offset)
            file.write(pixels.tobytes())
        print(f"{self.path} is damaged: decoding {self.files[row]} again", file=sys.stderr)
        return pixels


def mapped_images(folder: Path, name: str, files: Sequence[Path], prepare: Preparation) -> MappedImages:
    """Open the decoded images of `files` in `<folder>/<name>-<key>.safetensors`, building the file if necessary.

    The key changes with the bytes of the files and with `prepare`. Raises `UserError` for an image that cannot be read,
    and a folder that cannot be written or has too little space.
    """
    key = fingerprint(version=VERSION, prepare=describe_preparation(prepare), content=content_of(files, folder))
    path = folder / f"{name}-{key}.safetensors"
    if path.exists():
        try:
            return _opened(path, files, prepare)
        except Damaged as error:
            say_rebuilt(path, error)
            path.unlink(missing_ok=True)
    _build(path, files, prepare)
    return _opened(path, files, prepare)


def _build(path: Path, files: Sequence[Path], prepare: Preparation) -> None:
    needed = len(files) * int(numpy.prod(prepare.image_shape))
    require_writable(path.parent, "data.cache", needed + MARGIN)
    with hold_lock(path.parent / f".{path.name}.lock"):
        if path.exists():  # another process has built it meanwhile
            return
        remove_leftovers(path.parent, "*.safetensors")
        with atomic_write(path) as temporary:
            start = _header_size(len(files), prepare.image_shape)
            _reserve(temporary, start + needed + 16 * len(files))
            images = numpy.memmap(temporary, numpy.uint8, "r+", start, (len(files), *prepare.image_shape))
            table = _decode(files, prepare, images, f"{needed / 2**20:,.0f} MiB, {path.parent}")
            images.flush()
            with temporary.open("r+b") as file:
                file.write(_header(len(files), prepare.image_shape, _digests(images.reshape(-1)), table))
                file.seek(start + needed)
                file.write(table)


def _decode(files: Sequence[Path], prepare: Preparation, images: NDArray[numpy.uint8], where: str) -> bytes:
    """Fill `images`, and return their sizes and sums as the bytes to write."""
    sizes, sums = numpy.empty((len(files), 2), dtype="<i4"), numpy.empty(len(files), dtype="<i8")

    def decode(position: int) -> None:
        images[position], sizes[position] = pixels, _ = decode_image(files[position], prepare)
        sums[position] = _sums(pixels[None])[0]

    label = f"decoding {len(files):,} images once ({where})"
    if images.nbytes >= ANNOUNCED:
        print(label, file=sys.stderr)
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow releases the GIL
        warnings.simplefilter("ignore")  # about damaged details, such as EXIF
        try:
            for _ in progress_bar(pool.map(decode, range(len(files)), chunksize=1), len(files), label):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sizes.tobytes() + sums.tobytes()


def _sums(images: NDArray[numpy.uint8]) -> NDArray[numpy.int64]:
    """The checksum of each of `images` [B, channels, height, width]."""
    return numpy.array([xxhash.xxh3_64_intdigest(image) for image in images], dtype=numpy.uint64).view(numpy.int64)


def _digests(pixels: NDArray[numpy.uint8]) -> list[str]:
    """The digest of each block, computed in parallel."""
    blocks = [pixels[start : start + BLOCK] for start in range(0, len(pixels), BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda block: hashlib.sha256(block).hexdigest()[:16], blocks))


# ---- the file


def _opened(path: Path, files: Sequence[Path], prepare: Preparation) -> MappedImages:
    """Raises `Damaged` for a file that `_build` has not made from `files`; pixels are not verified."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            images, sizes, sums = (file.get_tensor(name) for name in ("images", "sizes", "sums"))
        digests = json.loads(metadata["digests"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise Damaged(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot read the decoded images in {path}: {error.strerror or error}") from None
    if tuple(images.shape) != (len(files), *prepare.image_shape):
        raise Damaged(f"images {list(images.shape)}")
    sizes, sums = sizes.clone(), sums.numpy().copy()  # copies, so that what is verified is what is used
    if metadata.get("table") != _table_checksum(digests, sizes.numpy().tobytes() + sums.tobytes()):
        raise Damaged("the checksum of its checksums does not match")
    return MappedImages(path, images, sizes, sums, fingerprint(checksums=digests), files, prepare)


def _table_checksum(digests: Sequence[str], table: bytes) -> str:
    return xxhash.xxh3_128(json.dumps(digests).encode() + table).hexdigest()


def _header(num_images: int, image_shape: tuple[int, ...], digests: Sequence[str], table: bytes) -> bytes:
    """The header of a safetensors file, padded to a length that depends on the shapes alone."""
    ends = [num_images * size for size in (int(numpy.prod(image_shape)), 8, 8)]
    ends = [sum(ends[: number + 1]) for number in range(len(ends))]
    tensors: dict[str, Any] = {
        "__metadata__": {"digests": json.dumps(digests), "table": _table_checksum(digests, table)},
        "images": {"dtype": "U8", "shape": [num_images, *image_shape], "data_offsets": [0, ends[0]]},
        "sizes": {"dtype": "I32", "shape": [num_images, 2], "data_offsets": [ends[0], ends[1]]},
        "sums": {"dtype": "I64", "shape": [num_images], "data_offsets": [ends[1], ends[2]]},
    }
    text = json.dumps(tensors).encode()
    padded = text + b" " * (-len(text) % 4096)
    return struct.pack("<Q", len(padded)) + padded


def _header_size(num_images: int, image_shape: tuple[int, ...]) -> int:
    num_blocks = -(-num_images * int(numpy.prod(image_shape)) // BLOCK)
    return len(_header(num_images, image_shape, ["0" * 16] * num_blocks, b""))


def _reserve(path: Path, size: int) -> None:
    """Grow the file to `size` bytes. Raises `OSError` if the disk is too full, where the system can reserve space."""
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
