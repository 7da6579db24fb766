"""Writing files so that a reader never sees half of one, and reading none that could block."""

import os
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from debiaslab.core.errors import UserError
from debiaslab.core.sharing import make_shared_folder, share

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

LONGEST_NAME = 255  # bytes, in the file systems in use
PART = ".part"  # ends the name of a file that is being written


@contextmanager
def atomic_write(path: Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path in the same folder; at the end of the block it is flushed to disk and becomes `path`.

    If the block fails or the process dies, `path` is what it was before; what a killed writer of `path` has left is
    removed. Raises `UserError` naming `path` for a read-only folder, a full disk and the like, and before the block if
    fewer than `size` bytes are free.
    """
    temporary = None
    try:
        make_shared_folder(path.parent)
        remove_leftovers(path.parent, path.name)
        _require_space(path, size)
        handle, temporary = _new_part(path)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            share(temporary)
            os.replace(temporary, path)
        finally:
            os.close(handle)
    except OSError as error:
        raise cannot_write(path, error.strerror or error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, reason: object) -> UserError:
    return UserError(f"cannot write {path}: {reason}; free the disk or choose another folder")


def _require_space(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise cannot_write(path, f"it takes {size / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are free")


# ---- files in the making, locked by their writers


def _new_part(path: Path) -> tuple[int, Path]:
    """An open file beside `path`, locked as long as it is open, and its path."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        lock(handle, wait=False)
        if _is_at(handle, Path(name)):  # not taken for a leftover before it was locked
            return handle, Path(name)
        os.close(handle)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove what killed writers of the file `name` in `folder` have left: the kernel has released their locks.

    `name` may be a pattern, for several files.
    """
    for path in folder.glob(f".{name}.*{PART}"):
        with suppress(OSError), path.open("r+b") as file:
            if lock(file.fileno(), wait=False):
                path.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within the block no other process is in such a block for the same `path`, a file that is there only meanwhile."""
    while True:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)  # another user's can be locked, too
        try:
            lock(handle, wait=True)
            if _is_at(handle, path):  # not removed by the one who had it before
                try:
                    yield
                    return
                finally:
                    with suppress(OSError):
                        path.unlink()
        finally:
            os.close(handle)


def lock(handle: int, wait: bool) -> bool:
    """Lock an open file until it is closed; False if another process has it, or the file system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


# ---- folders, and files of others


def require_regular(path: Path) -> os.stat_result:
    """The file's status. Raises `UserError` for a pipe, a device and the like, which could be read without an end.

    Raises `OSError` if there is nothing, or nothing that can be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} is a pipe, a socket or a device; give a file")
    return status


def expand(text: str, name: str) -> str:
    """The value `text` of the setting `name` with `~` and `$VARIABLE` replaced, as a shell does in the names of files.

    What is there as it is written stays. Raises `UserError` for an unknown user or variable, and for what cannot be the
    name of a file.
    """
    if "\0" in text or any(len(part.encode(errors="replace")) > LONGEST_NAME for part in text.split("/")):
        raise UserError(f"{name}={text[:20]!r}...: no part of it may have over {LONGEST_NAME} bytes, or a zero byte")
    if (text.startswith("~") or "$" in text) and not os.path.lexists(text):
        full = os.path.expandvars(os.path.expanduser(text))
        if full.startswith("~") or "$" in full:
            raise UserError(f"{name}={text}: there is no such user or environment variable; write the whole path")
        text = full
    return text if text.isascii() or not text else str(as_on_disk(Path(text)))


def as_on_disk(path: Path) -> Path:
    """`path`, or the file that is there and whose name has the same letters, put together in another way.

    Unicode has two ways to write an "ê", and file names of macOS may have the one that is not typed elsewhere.
    """
    if path == path.parent or os.path.lexists(path):
        return path
    folder = as_on_disk(path.parent)
    try:
        names = _names_in(folder, folder.stat().st_mtime_ns)
    except OSError:
        return path
    return folder / names.get(unicodedata.normalize("NFC", path.name), path.name)


@lru_cache(maxsize=8)
def _names_in(folder: Path, changed: int) -> dict[str, str]:
    """The names in a folder, as it is since `changed`, by their composed forms."""
    return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}


@contextmanager
def nothing_left_behind(folder: Path) -> Iterator[None]:
    """If the block ends in a `UserError` or is interrupted, `folder` and those above it that are new are removed again.

    Unless something is in them.
    """
    folders = (folder, *folder.parents)
    new = folders[: next((number for number, path in enumerate(folders) if path.exists()), 0)]
    try:
        yield
    except (UserError, KeyboardInterrupt):
        for path in new:
            with suppress(OSError):
                path.rmdir()
        raise


def require_writable(folder: Path, setting: str, needed_bytes: int = 64 * 2**20) -> None:
    """Raise `UserError`, saying to change `setting`, unless `folder` can be written and has `needed_bytes` free."""
    fix = f"choose another with {setting}=DIR"
    try:
        make_shared_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        reason = "it is a file, not a folder" if folder.is_file() else error.strerror or error
        raise UserError(f"cannot write into {folder}: {reason}; {fix}") from None
    if free < needed_bytes:
        raise UserError(f"only {free / 2**20:.0f} MiB free in {folder}, {needed_bytes / 2**20:.0f} MiB needed; {fix}")
