"""Report errors of the operating system that no command expects: a full disk, unusable paths, closed output."""

import errno
import os
import select
import sys
from typing import TextIO

from debiaslab.core.console import one_line

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
SHOWN = 100  # characters of a path


def report_os_error(error: OSError) -> None:
    """Report a full disk or an unusable path on standard error; output that cannot be written is dropped."""
    path = str(error.filename or "the output")
    path = one_line(path if len(path) <= SHOWN else f"{path[: SHOWN // 2]}...{path[-SHOWN // 2 :]}")
    if error.errno in DISK_FULL:
        message = f"error: cannot write {path}: {error.strerror}; free the disk\n"
    else:
        message = f"error: cannot use {path}: {error.strerror}; check the path and its permissions\n"
    for stream, text in ((sys.stderr, message), (sys.stdout, "")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            _discard(stream)


def reader_has_left() -> bool:
    """Whether standard output was closed by its reader; if so, discard further output."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        return True
    if not _is_closed_by_reader(sys.stdout):
        return False
    _discard(sys.stdout)  # the error came from a write so large that nothing is left to flush
    return True


def _is_closed_by_reader(stream: TextIO) -> bool:
    try:
        polling = select.poll()
        polling.register(stream.fileno(), 0)
    except OSError:  # no file
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in polling.poll(0))


def _discard(stream: TextIO) -> None:
    """Discard whatever is still to be written to `stream`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
