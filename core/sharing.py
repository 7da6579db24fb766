"""Folders shared by several users: what one user creates in them is writable for the others."""

import stat
from contextlib import suppress
from pathlib import Path


def make_shared_folder(folder: Path) -> None:
    """Create `folder` and missing parents, and `share` each of them. Raises `OSError`."""
    if not folder.is_dir():
        make_shared_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        share(folder)


def share(path: Path) -> None:
    """Give `path` the write permissions of its folder, whatever the umask, if that is a shared folder.

    A folder is shared if it passes its group on to its files (mode 2770, `chmod g+ws`) or if it is writable for all
    (777), unless it is sticky, as /tmp is (1777).
    """
    with suppress(OSError):  # it belongs to another user, who has done so
        folder, mode = path.parent.stat().st_mode, path.stat().st_mode
        shared = folder & stat.S_IWOTH or folder & stat.S_ISGID
        write = folder & (stat.S_IWGRP | stat.S_IWOTH) if shared and not folder & stat.S_ISVTX else 0
        read, enter = write << 1, write >> 1 if stat.S_ISDIR(mode) else 0
        if write:
            path.chmod(stat.S_IMODE(mode) | read | write | enter)
