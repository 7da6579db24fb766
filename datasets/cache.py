"""Data sets that are built once and read from then on."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.files import nothing_left_behind, remove_leftovers, require_writable
from debiaslab.core.tensor_files import Damaged, Foreign, read_tensors, write_tensors


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
    other. A damaged file is built anew, which is said. Raises `UserError` if the folder cannot be written.
    """
    path = folder / f"{name}-{key}.safetensors"
    if path.exists():
        try:
            return read_tensors(path)[0]
        except (Damaged, Foreign) as error:
            say_rebuilt(path, error)
        except OSError as error:
            raise UserError(f"cannot read the cached data set {path}: {error.strerror or error}") from None
    with nothing_left_behind(folder):
        require_writable(folder, "data.cache")
        tensors = dict(build())
        remove_leftovers(folder, "*.safetensors")
        write_tensors(path, tensors, {})
    return tensors


def say_rebuilt(path: Path, error: Damaged | Foreign) -> None:
    """Tell the user why the file `path` of the cache is not used."""
    reason = f"is damaged ({error})" if isinstance(error, Damaged) else "has no checksum, as those of older versions"
    print(f"{path} {reason}; it is built anew", file=sys.stderr)
