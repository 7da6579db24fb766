"""Features that another network, such as CLIP or DINOv2, has computed of images: numbers for each row of a CSV."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.datasets.array_files import reading_array
from debiaslab.datasets.cache import fingerprint
from debiaslab.datasets.csv_table import CSVTable

CHUNK = 8_192  # rows that are checked at a time
WRITE = "write it with numpy.save, as float16, float32 or float64 [rows of the CSV, features]"


@dataclass(frozen=True, eq=False)
class MappedFeatures:
    """A `Reader` of features float32 [B, F]; `array` [N, F], of any precision, is memory-mapped."""

    array: NDArray[Any]
    identity: str  # digest of the content
    num_draws: int = 0

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (self.array.shape[1],)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        return torch.from_numpy(self.array[rows.numpy()].astype(numpy.float32))


def read_features(path: Path, table: CSVTable) -> MappedFeatures:
    """Map the features in `path`, a row for each row of `table`, and read them once to check them.

    Raises `UserError` for another file, another number of rows, and values that are not finite in float32.
    """
    array = map_features(path, "data.features")
    if len(array) != len(table):
        raise UserError(
            f"{describe(path, array)}, but {table.file} has {len(table):,} rows; compute the features of exactly these,"
            " in their order"
        )
    digest = xxhash.xxh3_128()
    for start in range(0, len(array), CHUNK):
        chunk = numpy.ascontiguousarray(array[start : start + CHUNK])
        digest.update(chunk.tobytes())
        row = first_not_finite(chunk)
        if row is not None:
            raise table.mistake(start + row, not_finite(path, start + row))
    return MappedFeatures(array, fingerprint(features=digest.hexdigest(), dtype=str(array.dtype), shape=array.shape))


def map_features(path: Path, setting: str, write: str = WRITE) -> NDArray[Any]:
    """Map the features [N, F] in `path`. Raises `UserError` with `setting` and how to `write` it."""
    name = f"{setting}={path}"
    with reading_array(path, name, f"no file {name}; {write}", f"{name} is not an array of numbers; {write}"):
        array = numpy.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, numpy.ndarray):  # several arrays in an .npz file
        raise UserError(f"{name} has several arrays; {write}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8 or array.ndim != 2 or 0 in array.shape:
        raise UserError(f"{describe(path, array)}, which are no features; {write}")
    return array


def describe(path: Path, array: NDArray[Any]) -> str:
    return f"{path}: {array.dtype} {list(array.shape)}"


def first_not_finite(features: NDArray[Any]) -> int | None:
    """The first row of `features` [B, F] with a value that is not finite in float32; None if there is none."""
    with numpy.errstate(over="ignore"):
        finite = numpy.isfinite(features.astype(numpy.float32)).all(axis=1)
    return None if finite.all() else int(finite.argmin())


def not_finite(path: Path, row: int) -> str:
    return (
        f"row {row} of {path} (counted from 0) has values that are NaN, infinite or beyond float32; compute the"
        " features again"
    )
