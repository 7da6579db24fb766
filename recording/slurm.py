"""Run command lines as jobs of Slurm: one array, submitted by submitit, and watched by squeue.

Jobs outlive the process that submits them. What is in the queue is noted in a folder among the records, so that a later
process finds its jobs again, and submits none twice. submitit pickles each command line into the same folder, and the
job reads it there: whoever can write into the folder can run code in the jobs.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from math import ceil
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from debiaslab.core.console import plural
from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write, hold_lock
from debiaslab.core.program import CODE, IN_CLONE
from debiaslab.core.sharing import make_shared_folder
from debiaslab.recording.launcher import Handle, Outcome
from debiaslab.recording.observers import new_run_id
from debiaslab.recording.slurm_task import Task, code_file

QUEUE = "_slurm"  # folder among the records
NAMES = "jobs.json"  # in a folder of QUEUE: the names of its jobs in the queue
FIRST_LOOK, LONGEST_LOOK = 0.5, 10.0  # seconds between two looks at the queue: they grow while nothing changes
WARNING_SECONDS = 90  # before the end of the time limit
MOST_REQUEUES = 1_000_000  # after a time limit
LOST = "cancelled, or killed with its node"


@dataclass(frozen=True)
class Resources:
    """What each job gets; None: Slurm's default. `options` are others of sbatch, such as {"account": "vision"}.

    `gpus` and `tasks` are those on each of its `nodes`.
    """

    partition: str | None = None
    gpus: int | None = None
    hours: float | None = None
    nodes: int | None = None
    tasks: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, object]:
        """The same as submitit names it. A job that is preempted or loses its node is queued again."""
        given: dict[str, object] = {"partition": self.partition, "gpus_per_node": self.gpus}
        if self.nodes is not None:  # tasks end together
            given |= {"nodes": self.nodes, "ntasks_per_node": self.tasks, "srun_args": ["--kill-on-bad-exit=1"]}
        minutes = None if self.hours is None else ceil(60 * self.hours)
        given |= {"time": minutes, "signal_delay_s": min(WARNING_SECONDS, 30 * (minutes or 60))}
        return {
            **{name: value for name, value in given.items() if value is not None},
            "additional_parameters": {"requeue": True, **self.options},
        }


@dataclass(frozen=True)
class Place:
    """A job in the queue: its id, such as "123_4", and whether it is `running`."""

    job_id: str
    running: bool

    @property
    def text(self) -> str:
        return "running" if self.running else "queued"


class Slurm:
    """A `Launcher` whose processes are Slurm jobs, at most `parallel` at a time (None: no limit).

    A command line is identified by the name of its output file without suffix. If it is in the queue already, it is
    not submitted again.
    """

    def __init__(self, log_dir: Path, resources: Resources, parallel: int | None = None) -> None:
        require_slurm()
        self.folder, self.resources, self.parallel = log_dir / QUEUE, resources, parallel
        self.waiting: list[Handle] = []
        self.threads: dict[Handle, int | None] = {}
        self.jobs: dict[Handle, tuple[str, Path]] = {}  # job id, and the folder with its exit code
        self.queue: dict[str, Place] = {}  # by job id, at the last look
        self.new = False  # whether that look has not been asked for by `has_looked`
        self.looked, self.pause = -LONGEST_LOOK, FIRST_LOOK

    # ---- as a launcher

    def start(
        self, arguments: Sequence[str], output: Path, threads: int | None = None, held_files: Sequence[int] = ()
    ) -> Handle:
        """Note the command line for the next `submit`. Locks cannot be passed to another machine: `held_files` must be
        empty."""
        assert not held_files
        handle = Handle(arguments, output)
        self.waiting.append(handle)
        self.threads[handle] = threads
        return handle

    def ended(self) -> list[tuple[Handle, Outcome]]:
        if self.waiting:
            self.submit()
        if time.monotonic() - self.looked < self.pause:
            return []
        self.look()
        gone = [handle for handle, (job_id, _) in self.jobs.items() if job_id not in self.queue]
        if gone:
            self.pause = FIRST_LOOK
        return [(handle, outcome_of(handle, *self.jobs.pop(handle))) for handle in gone]

    def stop(self) -> list[tuple[Handle, Outcome]]:
        """Leave the jobs in the queue: they go on without this process."""
        self.jobs.clear()
        return []

    # ---- the queue

    def submit(self) -> int:
        """Submit the command lines that wait, except those that are in the queue. Returns how many were submitted.

        Raises `UserError` if Slurm refuses.
        """
        make_shared_folder(self.folder)
        with hold_lock(self.folder / ".lock"):
            places = self.places()
            joined = [handle for handle in self.waiting if handle.output.stem in places]
            for handle in joined:
                self.jobs[handle] = places[handle.output.stem][0].job_id, places[handle.output.stem][1]
            new = [handle for handle in self.waiting if handle not in self.jobs]
            if new:
                self._submit_new(new)
        self.waiting = []
        return len(new)

    def _submit_new(self, handles: Sequence[Handle]) -> None:
        folder = (self.folder / new_run_id()).absolute()
        make_shared_folder(folder)
        tasks = [Task(handle.arguments, handle.output.absolute(), self.threads.pop(handle)) for handle in handles]
        most = largest_array()
        arrays = [tasks[start : start + most] for start in range(0, len(tasks), most)]
        job_ids = []
        try:
            for array in arrays:
                executor = self._executor(folder, ceil((self.parallel or len(tasks)) / len(arrays)))
                with redirect_stderr(StringIO()):  # where submitit repeats the error
                    job_ids += [job.job_id for job in executor.submit_array(array)]
        except (FailedJobError, FailedSubmissionError) as error:
            if not job_ids:
                shutil.rmtree(folder, ignore_errors=True)
            raise UserError(f"Slurm refuses the jobs: {reason_in(str(error))}") from None
        finally:
            names = dict(zip((handle.output.stem for handle in handles), job_ids, strict=False))
            if names:
                with atomic_write(folder / NAMES) as temporary:
                    temporary.write_text(json.dumps(names))
        for handle, job_id in zip(handles, job_ids, strict=True):
            self.jobs[handle] = job_id, folder

    def _executor(self, folder: Path, parallel: int) -> submitit.SlurmExecutor:
        executor = submitit.SlurmExecutor(folder, MOST_REQUEUES)
        executor.python += " -P"  # only the program's own folder on the path
        executor.update_parameters(
            job_name="debiaslab",
            array_parallelism=parallel,
            stderr_to_stdout=True,
            setup=[f"export PYTHONPATH={CODE}"] if IN_CLONE else [],
            **self.resources.parameters,
        )
        return executor

    def places(self) -> dict[str, tuple[Place, Path]]:
        """The jobs in the queue by name, and the folder of each; asks Slurm. Raises `UserError` if it does not tell."""
        names = {path: json.loads(path.read_text()) for path in sorted(self.folder.glob(f"*/{NAMES}"))}
        self.queue = ask_queue([job_id for of_folder in names.values() for job_id in of_folder.values()])
        found: dict[str, tuple[Place, Path]] = {}
        for path, of_folder in names.items():
            queued = {name: job_id for name, job_id in of_folder.items() if job_id in self.queue}
            found |= {name: (self.queue[job_id], path.parent) for name, job_id in queued.items()}
        return found

    def place(self, handle: Handle) -> Place | None:
        """Where a job was at the last look; None if it was not in the queue."""
        return self.queue.get(self.jobs[handle][0])

    def look(self) -> None:
        """Renew `queue`; leave it as it is if Slurm does not respond."""
        self.new = True
        self.looked, self.pause = time.monotonic(), min(1.3 * self.pause, LONGEST_LOOK)
        try:
            self.queue = ask_queue([job_id for job_id, _ in self.jobs.values()])
        except UserError as error:
            print(f"{error}; still watching", file=sys.stderr, flush=True)
            self.pause = LONGEST_LOOK

    def has_looked(self) -> bool:
        """Whether Slurm has been asked for the queue since the last call."""
        new, self.new = self.new, False
        return new

    def cancel(self, names: Sequence[str]) -> int:
        """Cancel the jobs of these names; returns how many were in the queue."""
        places = self.places()
        job_ids = {places[name][0].job_id for name in names if name in places}
        if job_ids:
            kept = {array_of(job_id) for job_id in self.queue.keys() - job_ids}
            call("scancel", *sorted({job_id if array_of(job_id) in kept else array_of(job_id) for job_id in job_ids}))
        return len(job_ids)


def outcome_of(handle: Handle, job_id: str, folder: Path) -> Outcome:
    """The outcome of a job that has left the queue."""
    try:
        return Outcome(int(code_file(folder, job_id).read_text()), handle.output)
    except (OSError, ValueError):
        return Outcome(1, handle.output, f"{LOST} (job {job_id})")


def array_of(job_id: str) -> str:
    """The id of the array that a job belongs to, or of a single job."""
    return job_id.partition("_")[0]


# ---- what to tell who watches


def tell_submitted(number: int, kind: str) -> str:
    return f"submitted {plural(number, kind)} to Slurm; Ctrl-C ends only the watching"


def tell_left(number: int, kind: str) -> str:
    return (
        f"{plural(number, kind)} left to Slurm; the same words come back to them, with cancel=True they are cancelled"
    )


# ---- Slurm's commands


def require_slurm() -> None:
    for command in ("sbatch", "srun", "squeue", "scancel"):
        if shutil.which(command) is None:
            raise UserError(f"on=slurm: there is no {command} here; use a machine that submits jobs, or on=local")


def ask_queue(job_ids: Sequence[str]) -> dict[str, Place]:
    """Those of the jobs that are in the queue or running, by id. Raises `UserError` if Slurm does not tell."""
    arrays = dict.fromkeys(map(array_of, job_ids))
    if not arrays:
        return {}
    try:
        lines = call("squeue", "--noheader", "--array", "--format=%i %T", f"--jobs={','.join(arrays)}").splitlines()
    except UserError as error:
        if "Invalid job id" in str(error):  # the only one, and forgotten by Slurm
            return {}
        raise
    states = dict(line.split() for line in lines)
    return {job_id: Place(job_id, state not in ("PENDING", "REQUEUED")) for job_id, state in states.items()}


def largest_array() -> int:
    """The most jobs that an array can have."""
    lines = call("scontrol", "show", "config").splitlines()
    sizes = [line.partition("=")[2].strip() for line in lines if line.startswith("MaxArraySize")]
    return int(sizes[0]) if sizes and sizes[0].isdecimal() and int(sizes[0]) else 1000


def call(*command: str) -> str:
    """The output of a command of Slurm. Raises `UserError` with its errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{command[0]}: {reason_in(done.stderr)}")
    return done.stdout


def reason_in(text: str) -> str:
    """Slurm's own words in the message of an error, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = dict.fromkeys(line.partition("error: ")[2] for line in lines if "error: " in line)
    return "; ".join(told) or (lines or ["no reason given"])[-1]
