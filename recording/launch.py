"""A run in a process of its own, as if its command line had been typed."""

import os
import subprocess
from collections.abc import Sequence
from typing import IO

from debiaslab.core.program import program_command


def launch(
    words: Sequence[str],
    run_id: str,
    output: IO[bytes] | int,
    threads: int | None = None,
    held_files: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `main.py with WORDS`, to be recorded under `run_id`; what it prints goes to `output`.

    It runs in the current folder, with `threads` threads on the CPU (None: as many as torch takes), and in a process
    group of its own, so that Ctrl-C reaches it through its parent only: `terminate()` it, and it is recorded as
    interrupted. It keeps the open `held_files` (descriptors), and so their locks, until it ends. The exit codes are
    those of `recording.command_line`.
    """
    return _started(["with", *words, f"--id={run_id}"], output, threads, held_files)


def launch_together(
    words: Sequence[str],
    seeds: Sequence[int],
    run_ids: Sequence[str],
    output: IO[bytes] | int,
    threads: int | None = None,
    held_files: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """The same for runs of all `seeds`, trained as one (`commands/together.py`)."""
    own = [f"seeds={','.join(map(str, seeds))}", f"ids={','.join(run_ids)}"]
    return _started(["together", "with", *words, *own], output, threads, held_files)


def _started(
    arguments: Sequence[str], output: IO[bytes] | int, threads: int | None, held_files: Sequence[int]
) -> subprocess.Popen[bytes]:
    environment = dict(os.environ) if threads is None else os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [*program_command(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
        pass_fds=held_files,
    )
