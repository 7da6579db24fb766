"""What a Slurm job runs: a command line of main.py, in the process that submitit starts.

Slurm ends a job early in three ways. By the warning signal, before its time is over or it is preempted: submitit puts
it back into the queue. By SIGTERM, if it is preempted, when Slurm puts it back, or cancelled, when it does not: only
Slurm knows which, so the job waits to be killed. And with its node, when Slurm puts it back as well.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import submitit
from submitit.helpers import Checkpointable

from debiaslab.core.sharing import make_shared_folder
from debiaslab.recording.interruption import Interruption

INTERRUPTED = 130  # exit code of a command line that a signal has ended
GRACE_SECONDS = 600  # to be killed after SIGTERM; later, the job puts itself back into the queue


class Task(Checkpointable):
    """Runs `main.py ARGUMENTS`, with its output appended to the file `output`.

    `threads`: CPU threads (None: the CPUs of the job). The exit code is left in the file `code_file`.
    """

    def __init__(self, arguments: Sequence[str], output: Path, threads: int | None) -> None:
        self.arguments, self.output, self.threads = tuple(arguments), output, threads

    def __call__(self) -> None:
        environment = submitit.JobEnvironment()
        code_path = code_file(environment.paths.folder, environment.job_id)
        code_path.unlink(missing_ok=True)
        os.environ.setdefault("OMP_NUM_THREADS", str(self.threads or os.environ.get("SLURM_CPUS_PER_TASK", 1)))
        code = 1
        try:
            with output_in(self.output):
                from debiaslab.__main__ import main  # imported here: the environment is to be set first

                code = main(self.arguments)
                if code == INTERRUPTED:
                    wait_for_the_end()
        finally:
            code_path.write_text(str(code))
        if code:
            sys.exit(code)


def code_file(folder: Path, job_id: str) -> Path:
    """Where a task leaves its exit code."""
    return folder / f"{job_id}.code"


def wait_for_the_end() -> None:
    """After a signal: be put back into the queue, or wait to be killed. Does not return."""
    warning = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
    end = time.monotonic() + GRACE_SECONDS
    while Interruption.number != warning and time.monotonic() < end:
        time.sleep(1)
    signal.raise_signal(warning)  # submitit's handler puts the job back, and ends the process


@contextmanager
def output_in(path: Path) -> Iterator[None]:
    """Append standard output and errors of this process and its children to the file `path` within the block."""
    make_shared_folder(path.parent)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with path.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, earlier in zip((1, 2), before, strict=True):
            os.dup2(earlier, number)
            os.close(earlier)
