"""Data sets that are built once and read from then on."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write, nothing_left_behind, require_writable


def fingerprint(**content: object) -> str:
    """16 hexadecimal digits for what determines a data set: builder version, checksums of sources, variant."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def listing(root: Path, files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """(name relative to `root`, size, time of the last change) of each file: what tells that none has changed."""

    def entry(path: Path) -> tuple[str, int, int]:
        try:
            stat = path.stat()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        return path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns

    return [entry(path) for path in files]


def cache_folder(root: str, cache: str | None) -> Path:
    """The folder of built data sets: `cache`, or the one beside the downloaded files."""
    return Path(cache) if cache is not None else Path(root) / "cache"


def cached(folder: Path, name: str, key: str, build: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `build` makes, from `<folder>/<name>-<key>.safetensors` if that is there.

    The file appears only when it is complete; builders at the same time in several processes do not disturb each
    other. Raises `UserError` if the folder cannot be written or the file is damaged.
    """
    path = folder / f"{name}-{key}.safetensors"
    if not path.exists():
        with nothing_left_behind(folder):
            require_writable(folder, "data.cache")
            tensors = dict(build())
        with atomic_write(path) as temporary:
            save_file(tensors, temporary)
        return tensors
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read the cached data set {path}: {error}; delete the file to build it anew") from None
