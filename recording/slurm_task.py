"""What a Slurm job runs: a command line of main.py, in the process that submitit starts.

Slurm ends a job early in three ways. By the warning signal, before its time is over or it is preempted: submitit puts
it back into the queue. By SIGTERM, if it is preempted, when Slurm puts it back, or cancelled, when it does not: only
Slurm knows which, so the job waits to be killed. And with its node, when Slurm puts it back as well.

A job of several tasks is one run of several processes (`ranks`), which all get the same command line. The first task
speaks for the job: it leaves the queue with it, or goes back there. If another one fails, Slurm ends them all.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import submitit
from submitit.helpers import Checkpointable, TorchDistributedEnvironment

from debiaslab.core.errors import INTERRUPTED, LEFT
from debiaslab.core.sharing import make_shared_folder
from debiaslab.recording.interruption import Interruption
from debiaslab.recording.launcher import Outcome

# exit code -> seconds to be killed by Slurm; later, the job puts itself back into the queue
WAITS = {INTERRUPTED: 600, LEFT: 20}


class Task(Checkpointable):
    """Runs `main.py ARGUMENTS`, with its output appended to the file `output`; that of task 2 to `output.2.txt`.

    `threads`: CPU threads (None: the CPUs of the job). The exit code is left in the file `code_file`.
    """

    def __init__(self, arguments: Sequence[str], output: Path, threads: int | None) -> None:
        self.arguments, self.output, self.threads = tuple(arguments), output, threads

    def __call__(self) -> None:
        environment = submitit.JobEnvironment()
        number = environment.global_rank
        code_path = code_file(environment.paths.folder, environment.job_id)
        os.environ.setdefault("OMP_NUM_THREADS", str(self.threads or os.environ.get("SLURM_CPUS_PER_TASK", 1)))
        if environment.num_tasks > 1:
            introduce_tasks()
        if number > 0:
            self.run_other(number, code_path)
            return
        code_path.unlink(missing_ok=True)
        code = 1
        try:
            code = self.run(self.output)
            if code in WAITS:
                wait_for_the_end(WAITS[code])
        finally:
            code_path.write_text(str(code))
        if code:
            sys.exit(code)

    def run_other(self, number: int, code_path: Path) -> None:
        """Run the task `number`, which is not the first: it ends in silence if that decides what becomes of the job."""
        output = self.output.with_suffix(f".{number}.txt")
        code = self.run(output)
        if code and code not in WAITS:
            time.sleep(WAITS[LEFT])  # if the first task has failed as well, it needs time to record that
            code_path.write_text(str(code))
            with self.output.open("a") as file:
                file.write(f"process {number}: {Outcome(code, output).last_line()}\n")
            sys.exit(code)

    def run(self, output: Path) -> int:
        """Run the command line, with its output appended to a file; returns the exit code."""
        with output_in(output):
            from debiaslab.__main__ import main  # imported here: the environment is to be set first

            return main(self.arguments)


def introduce_tasks() -> None:
    """Tell torch.distributed about the tasks of this job: `commands/ranks.py` joins them.

    MASTER_ADDR may be given, for nodes that do not know each other by their names.
    """
    address = os.environ.get("MASTER_ADDR")
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if address is not None:
        os.environ["MASTER_ADDR"] = address


def code_file(folder: Path, job_id: str) -> Path:
    """Where a task leaves its exit code."""
    return folder / f"{job_id}.code"


def wait_for_the_end(seconds: float) -> None:
    """After a signal, or the end of another task: wait to be killed, or be put back into the queue. Does not return."""
    warning = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
    end = time.monotonic() + seconds
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
