"""Folders that several users write into: what one of them makes there, the others can write, too."""

import stat
from contextlib import suppress
from pathlib import Path


def make_shared_folder(folder: Path) -> None:
    """Make `folder`, and those above it, if they are not there; `share` each. Raises `OSError`."""
    if not folder.is_dir():
        make_shared_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        share(folder)


def share(path: Path) -> None:
    """Let those write `path` who can write the folder that it is in, whatever the umask, if that is a shared one.

    It is if it gives its files to its group (mode 2770, `chmod g+ws`), or if all can write it (777); but for one where
    each has files of their own, as in /tmp (1777).
    """
    with suppress(OSError):  # another user's, who has done so
        folder, mode = path.parent.stat().st_mode, path.stat().st_mode
        shared = folder & stat.S_IWOTH or folder & stat.S_ISGID
        write = folder & (stat.S_IWGRP | stat.S_IWOTH) if shared and not folder & stat.S_ISVTX else 0
        read, enter = write << 1, write >> 1 if stat.S_ISDIR(mode) else 0
        if write:
            path.chmod(stat.S_IMODE(mode) | read | write | enter)
