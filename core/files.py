"""Writing files so that a reader never sees half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from debiaslab.core.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; at the end of the block it is flushed to disk and becomes `path`.

    If the block fails or the process dies, `path` is what it was before. Raises `UserError` naming `path` for a full
    disk, a read-only folder and the like.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"cannot write {path}: {why}; free the disk or choose another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def nothing_left_behind(folder: Path) -> Iterator[None]:
    """If the block ends in a `UserError`, `folder` and those above it that were not there before are removed again.

    Unless something is in them.
    """
    folders = (folder, *folder.parents)
    new = folders[: next((number for number, path in enumerate(folders) if path.exists()), 0)]
    try:
        yield
    except UserError:
        for path in new:
            with suppress(OSError):
                path.rmdir()
        raise


def require_writable(folder: Path, setting: str, needed_bytes: int = 64 * 2**20) -> None:
    """Raise `UserError`, saying to change `setting`, unless `folder` can be written and has `needed_bytes` free."""
    fix = f"choose another with {setting}=DIR"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
        stat = os.statvfs(folder)
    except OSError as error:
        reason = "it is a file, not a folder" if folder.is_file() else error.strerror or error
        raise UserError(f"cannot write into {folder}: {reason}; {fix}") from None
    free = stat.f_bavail * stat.f_frsize
    if free < needed_bytes:
        raise UserError(f"only {free / 2**20:.0f} MiB free in {folder}, {needed_bytes / 2**20:.0f} MiB needed; {fix}")
