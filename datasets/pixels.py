"""Image files, decoded and resized once into a file that is mapped into memory from then on.

The file is in the safetensors format: "images" uint8 [N, channels, height, width] and "sizes" int32 [N, 2], the
original (height, width) of each. Its metadata holds the format's version and a checksum of each block of the pixels,
which are compared when the file is first read and whenever it has changed.
"""

import fcntl
import hashlib
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from debiaslab.core import memory
from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write, require_writable
from debiaslab.core.progress_bar import progress_bar
from debiaslab.datasets.cache import fingerprint, listing

VERSION = 1  # of the file; raise it with every change of what is in it
BLOCK = 64 * 2**20  # bytes of pixels under one checksum
ANNOUNCED = 256 * 2**20  # bytes from which on the work is announced where there is no progress bar, too
MARGIN = 64 * 2**20  # bytes of the disk that the file leaves free


class Preparation(Protocol):
    """A frozen dataclass: how an image is made to have the common size."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what it makes."""
        ...

    def __call__(self, image: Image.Image) -> Image.Image: ...


@dataclass(frozen=True)
class Stretched:
    """The whole image, stretched to `size` x `size` pixels (bilinear, antialiased)."""

    size: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    def __call__(self, image: Image.Image) -> Image.Image:
        if image.size == (self.size, self.size):
            return image
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class ResizedCenterCrop:
    """The image resized so that its short side has `resize` pixels, and of that the middle `crop` x `crop` pixels.

    The pixels of torchvision's Resize and CenterCrop (bilinear, antialiased). `crop` is at most `resize`.
    """

    resize: int
    crop: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.crop, self.crop)

    def __call__(self, image: Image.Image) -> Image.Image:
        short = min(image.size)
        width, height = (self.resize * side // short for side in image.size)
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + self.crop, top + self.crop))


@dataclass(frozen=True)
class MappedImages:
    """A `Reader` of the images in a file: a row is an image's number in the file."""

    path: Path
    images: Tensor  # uint8 [N, channels, height, width], mapped
    sizes: Tensor  # int32 [N, 2], original (height, width)
    checksum: str  # of the pixels
    num_draws: int = 0

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape[1:])

    def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        return memory.rows(self.images, rows)


def mapped_images(folder: Path, name: str, root: Path, files: Sequence[Path], prepare: Preparation) -> MappedImages:
    """The images `files`, in that order, from `<folder>/<name>-<key>.safetensors`, which is built if it is not there.

    The key changes with the files' names relative to `root`, their sizes and times, and with `prepare`. Raises
    `UserError` for an image that cannot be read, a folder that cannot be written or has too little space, and a
    damaged file.
    """
    settings = {"kind": type(prepare).__name__, **asdict(prepare)}  # type: ignore[call-overload]
    key = fingerprint(version=VERSION, prepare=settings, files=listing(root, files))
    path = folder / f"{name}-{key}.safetensors"
    if not path.exists():
        _build(path, files, prepare)
    return _read(path, len(files), prepare.image_shape)


class BrokenImage(UserError):
    """The file `path` is not a complete image, or not one of 8 bits."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path


def _build(path: Path, files: Sequence[Path], prepare: Preparation) -> None:
    image_bytes = int(numpy.prod(prepare.image_shape))
    needed = len(files) * image_bytes
    require_writable(path.parent, "data.cache", needed + MARGIN)
    with _only_builder(path):
        if path.exists():  # another process has built it meanwhile
            return
        with atomic_write(path) as temporary:
            header_size = _header_size(len(files), prepare.image_shape)
            with temporary.open("wb") as file:
                file.truncate(header_size + needed + 8 * len(files))
            images = numpy.memmap(temporary, numpy.uint8, "r+", header_size, (len(files), *prepare.image_shape))
            sizes = numpy.empty((len(files), 2), dtype="<i4")
            label = f"decoding {len(files):,} images once ({needed / 2**20:,.0f} MiB, {path.parent})"
            if needed >= ANNOUNCED:
                print(label, file=sys.stderr)
            _decode(files, prepare, images, sizes, label)
            images.flush()
            checksums = _checksums(images.reshape(-1))
            with temporary.open("r+b") as file:
                file.write(_header(len(files), prepare.image_shape, checksums))
                file.seek(header_size + needed)
                file.write(sizes.tobytes())


def _decode(
    files: Sequence[Path],
    prepare: Preparation,
    images: NDArray[numpy.uint8],
    sizes: NDArray[numpy.int32],
    label: str,
) -> None:
    def decode(position: int) -> None:
        pixels, sizes[position] = read_image(files[position], prepare)
        images[position] = pixels.transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes outside of Python's lock
        try:
            for _ in progress_bar(pool.map(decode, range(len(files)), chunksize=1), len(files), label):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def read_image(path: Path, prepare: Callable[[Image.Image], Image.Image]) -> tuple[NDArray[numpy.uint8], list[int]]:
    """The prepared image uint8 [H, W, 3] and its original [height, width]. Raises `BrokenImage`."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut off what is above 255
                raise BrokenImage(path, f"has pixels of more than 8 bits (mode {image.mode}); save it with 8 bits")
            size = [image.height, image.width]
            return numpy.asarray(prepare(image.convert("RGB"))), size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokenImage(path, f"is not a complete image ({reason}); replace or remove the file") from None


# ---- the file


def _read(path: Path, num_images: int, image_shape: tuple[int, ...]) -> MappedImages:
    damaged = UserError(f"the decoded images in {path} are damaged; delete the file to build it anew")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            images, sizes = file.get_tensor("images"), file.get_tensor("sizes")
    except (SafetensorError, OSError):
        raise damaged from None
    if tuple(images.shape) != (num_images, *image_shape):
        raise damaged
    if not _is_checked(path):
        if metadata.get("checksums") != json.dumps(_checksums(images.view(-1).numpy())):
            raise damaged
        _set_checked(path)
    return MappedImages(path, images, sizes, fingerprint(checksums=json.loads(metadata["checksums"])))


def _is_checked(path: Path) -> bool:
    """Whether the checksums of this very file have been compared already: of a large file that takes a minute."""
    try:
        return path.with_suffix(".checked").read_text() == _stamp(path)
    except OSError:
        return False


def _set_checked(path: Path) -> None:
    with suppress(UserError), atomic_write(path.with_suffix(".checked")) as temporary:
        temporary.write_text(_stamp(path))


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_mtime_ns}/{stat.st_size}"


def _checksums(pixels: NDArray[numpy.uint8]) -> list[str]:
    """A digest of each block, computed in parallel."""
    blocks = [pixels[start : start + BLOCK] for start in range(0, len(pixels), BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda block: hashlib.sha256(block).hexdigest()[:16], blocks))


def _header(num_images: int, image_shape: tuple[int, ...], checksums: Sequence[str]) -> bytes:
    """What a safetensors file begins with, padded to a length that depends on the shapes alone."""
    end = num_images * int(numpy.prod(image_shape))
    tensors: dict[str, Any] = {
        "__metadata__": {"version": str(VERSION), "checksums": json.dumps(checksums)},
        "images": {"dtype": "U8", "shape": [num_images, *image_shape], "data_offsets": [0, end]},
        "sizes": {"dtype": "I32", "shape": [num_images, 2], "data_offsets": [end, end + 8 * num_images]},
    }
    text = json.dumps(tensors).encode()
    padded = text + b" " * (-len(text) % 4096)
    return struct.pack("<Q", len(padded)) + padded


def _header_size(num_images: int, image_shape: tuple[int, ...]) -> int:
    num_blocks = -(-num_images * int(numpy.prod(image_shape)) // BLOCK)
    return len(_header(num_images, image_shape, ["0" * 16] * num_blocks))


@contextmanager
def _only_builder(path: Path) -> Iterator[None]:
    """Within the block, no other process builds `path`; what one that was killed has left behind is removed."""
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".{path.name}.*.part"):
            left.unlink(missing_ok=True)
        yield
