"""Atomic writes, file locks, and checks of paths."""

import errno
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
except ImportError:  # Windows, where locks do nothing
    fcntl = None  # type: ignore[assignment]

LONGEST_NAME = 255  # bytes, the limit of common file systems
PART = ".part"  # suffix of files that are being written


@contextmanager
def atomic_write(path: Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path in the same folder; after the block, flush it to disk and rename it to `path`.

    If the block fails or the process dies, `path` is unchanged. Temporary files of killed writers of `path` are
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
            if not _is_at(handle, temporary):  # replaced by a library, such as safetensors: lock the new one at once
                os.close(handle)
                handle = os.open(temporary, os.O_RDWR)
                lock(handle, wait=False)
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
        raise cannot_write(path, f"it needs {size / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are free")


# ---- temporary files, locked by their writers


def _new_part(path: Path) -> tuple[int, Path]:
    """Open a temporary file beside `path`, locked while it is open; returns its descriptor and its path."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        lock(handle, wait=False)
        if _is_at(handle, Path(name)):  # not removed as a leftover before it was locked
            return handle, Path(name)
        os.close(handle)


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove temporary files of killed writers of `name` in `folder`, recognised by their released locks.

    `name` may be a glob pattern.
    """
    for path in folder.glob(f".{name}.*{PART}"):
        with suppress(OSError), path.open("r+b") as file:
            if lock(file.fileno(), wait=False):
                path.unlink()


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` within the block. The file exists only as long as the lock is held."""
    while True:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)  # read-only, so that another user's can be locked
        try:
            lock(handle, wait=True)
            if _is_at(handle, path):  # not removed by the previous holder
                try:
                    yield
                    return
                finally:
                    with suppress(OSError):
                        path.unlink()
        finally:
            os.close(handle)


def lock(handle: int, wait: bool) -> bool:
    """Lock an open file until it is closed; False if another process holds the lock or locks are not supported."""
    return _lock_error(handle, wait) is None


def require_lock(handle: int, path: Path, wait: bool) -> bool:
    """Lock an open file until it is closed; False if another process holds the lock.

    Raises `UserError` if its file system, or this system, has no locks.
    """
    error = _lock_error(handle, wait)
    if error is None or isinstance(error, BlockingIOError):
        return error is None
    reason = f"{errno.errorcode.get(error.errno or 0, error.errno)}: {error.strerror}"
    raise UserError(
        f"cannot lock {path} ({reason}), and without locks two processes could do the same run; choose a folder on a"
        " local disk, or mount this one with locks (Lustre: flock, NFS: no nolock)"
    )


def _lock_error(handle: int, wait: bool) -> OSError | None:
    """Lock an open file; the reason if it is not locked: `BlockingIOError` if another process holds the lock."""
    if fcntl is None:
        return OSError(errno.ENOSYS, "this system has none")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error
    return None


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


# ---- paths given by the user


def require_regular(path: Path) -> os.stat_result:
    """Return the status of a file or folder. Raises `UserError` for pipes, devices and the like, where reads can block.

    Raises `OSError` if `path` does not exist or cannot be accessed.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} is a pipe, a socket or a device; give a file")
    return status


def expand(text: str, name: str) -> str:
    """Expand `~` and `$VARIABLE` in `text`, the value of the setting `name`, as a shell does.

    A path that exists literally is not expanded. Raises `UserError` for an unknown user or variable, and for text that
    cannot be a path.
    """
    if "\0" in text or any(len(part.encode(errors="replace")) > LONGEST_NAME for part in text.split("/")):
        raise UserError(f"{name}={text[:20]!r}...: no part of it may have over {LONGEST_NAME} bytes, or a zero byte")
    if (text.startswith("~") or "$" in text) and not os.path.lexists(text):
        full = os.path.expandvars(os.path.expanduser(text))
        if full.startswith("~") or "$" in full:
            raise UserError(f"{name}={text}: there is no such user or environment variable; write the full path")
        text = full
    return text if text.isascii() or not text else str(as_on_disk(Path(text)))


def as_on_disk(path: Path) -> Path:
    """`path`, or an existing file whose name is equal to it after Unicode normalisation.

    Unicode has two encodings of "ê", and file names from macOS may use the one that keyboards do not produce elsewhere.
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
    """The names in a folder by their composed forms; `changed`, its modification time, is part of the cache key."""
    return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}


@contextmanager
def remove_if_failed(folder: Path) -> Iterator[None]:
    """If the block raises `UserError` or is interrupted, remove `folder` and its parents if they are new and empty."""
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
    """Raise `UserError`, naming `setting`, unless `folder` is writable and has `needed_bytes` free."""
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
