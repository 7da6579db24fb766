"""Build data sets once and cache them in files."""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import xxhash
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.files import (
    atomic_write,
    remove_if_failed,
    remove_leftovers,
    require_regular,
    require_writable,
)
from debiaslab.core.progress_bar import progress_bar
from debiaslab.core.tensor_files import Damaged, Foreign, read_tensors, write_tensors

BLOCK = 2**20  # bytes of a file to read at a time
SETTLED = 2 * 10**9  # nanoseconds, more than the resolution of file times


def fingerprint(**content: object) -> str:
    """A hash, 16 hex digits, of what determines a data set: builder version, checksums of sources, variant."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def content_of(files: Sequence[Path], folder: Path) -> str:
    """A hash, 16 hex digits, of the bytes of `files`, in their order.

    Files are read once: the hash is cached in `folder` and reused as long as path, size, inode, mtime and ctime (which
    programs cannot set) are the same. Files that changed in the last seconds are read again next time, as another
    change might have the same times. Raises `UserError` for a file that cannot be read, or is a pipe or a device.
    """
    now = time.time_ns()
    entries = [_entry(path) for path in files]
    known = folder / "contents" / f"{fingerprint(files=entries)}.json"
    with suppress(OSError, ValueError):
        if re.fullmatch("[0-9a-f]{16}", found := str(json.loads(known.read_text()))):
            return found
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        label = f"reading {len(files):,} files once"
        content = fingerprint(files=list(progress_bar(pool.map(_digest, files), len(files), label)))
    if max((time for *_, times in entries for time in times), default=0) < now - SETTLED:
        with suppress(UserError), atomic_write(known) as temporary:
            temporary.write_text(json.dumps(content))
    return content


def _entry(path: Path) -> tuple[str, int, int, tuple[int, int]]:
    try:
        status = require_regular(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return str(path), status.st_size, status.st_ino, (status.st_mtime_ns, status.st_ctime_ns)


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions and the disk") from None
    return digest.hexdigest()


def cache_folder(root: str, cache: str | None) -> Path:
    """The folder of built data sets: `cache`, or by default `<root>/cache`."""
    return Path(cache) if cache is not None else Path(root) / "cache"


def load_or_build(folder: Path, name: str, key: str, build: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Read the tensors in `<folder>/<name>-<key>.safetensors`, or `build` and write them if the file does not exist.

    The file appears only when it is complete, and several processes can build it at the same time. A damaged file is
    rebuilt, with a message. Raises `UserError` if the folder cannot be written.
    """
    path = folder / f"{name}-{key}.safetensors"
    if path.exists():
        try:
            return read_tensors(path)[0]
        except (Damaged, Foreign) as error:
            say_rebuilt(path, error)
        except OSError as error:
            raise UserError(f"cannot read the cached data set {path}: {error.strerror or error}") from None
    with remove_if_failed(folder):
        require_writable(folder, "data.cache")
        tensors = dict(build())
        remove_leftovers(folder, "*.safetensors")
        write_tensors(path, tensors, {})
    return tensors


def say_rebuilt(path: Path, error: Damaged | Foreign) -> None:
    """Tell the user why the cached file `path` is rebuilt."""
    reason = f"is damaged ({error})" if isinstance(error, Damaged) else "is of an older version, without a checksum"
    print(f"{path} {reason}; rebuilding it", file=sys.stderr)
