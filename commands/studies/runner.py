"""Runs jobs in processes of their own, several at a time; each at most once, whoever else runs a study."""

import json
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from debiaslab.commands.studies.jobs import Job
from debiaslab.commands.studies.overview import Overview, runs
from debiaslab.commands.studies.recorded import Recorded, State, try_lock
from debiaslab.core.errors import UserError
from debiaslab.recording.children import noted_interruption, terminate
from debiaslab.recording.launch import launch, launch_together
from debiaslab.recording.observers import new_run_id

POLL_SECONDS = 0.2
OUTPUTS = "_output"  # folder among the records for what the runs print


@dataclass
class Running:
    """A run that is on its way, in a process that it may share; `before` of its optimiser steps were done by the run
    that it goes on with."""

    job: Job
    process: Popen[bytes]
    run_id: str
    output: Path
    before: int
    start: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Failure:
    """A job whose run failed: the last line of what it printed, and where the rest is."""

    job: Job
    reason: str
    output: Path


class Runner:
    """Runs the jobs that the records do not settle, `parallel` at a time with `threads` threads each.

    Each of `groups` is a process; several jobs in one are trained as one, and then nothing else runs beside them.
    `run` leaves the ids of the complete runs in `done`, by the jobs' keys, and what failed in `failures`.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Job]],
        recorded: Recorded,
        *,
        again: bool,
        parallel: int,
        threads: int | None,
        overview: Overview,
    ) -> None:
        self.waiting, self.recorded, self.again = [tuple(group) for group in groups], recorded, again
        self.parallel, self.threads, self.overview = parallel, threads, overview
        self.running: list[Running] = []
        self.done: dict[str, str] = {}
        self.failures: list[Failure] = []

    def run(self) -> None:
        """Run all jobs. Ctrl-C and SIGTERM stop the runs, which record it, and raise `KeyboardInterrupt` then."""
        with noted_interruption() as interruption, self.overview:
            try:
                while (self.waiting or self.running) and not interruption.requested:
                    self._start()
                    self._collect()
                    self.overview.update(self.running, sum(map(len, self.waiting)))
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop()
        if interruption.requested:
            raise KeyboardInterrupt

    def _start(self) -> None:
        """Start what has a place and is not run by another study; what has been done meanwhile is done."""
        for group in list(self.waiting):
            if not self._has_place(group):
                return
            with ExitStack() as held:
                locks = [try_lock(self.recorded.log_dir, job.key) for job in group]
                files = [held.enter_context(lock) for lock in locks if lock is not None]  # the process keeps them open
                elsewhere = [job for job, lock in zip(group, locks, strict=True) if lock is None]
                place = self.waiting.index(group)
                self.waiting[place : place + 1] = [(job,) for job in elsewhere]
                for job in elsewhere:
                    self.overview.is_elsewhere(job)
                self._start_locked([job for job in group if job not in elsewhere], [file.fileno() for file in files])

    def _has_place(self, group: Sequence[Job]) -> bool:
        processes = {id(run.process) for run in self.running}
        if len(group) > 1 or len(self.running) > len(processes):  # of runs that are trained as one: alone
            return not self.running
        return len(processes) < self.parallel

    def _start_locked(self, jobs: Sequence[Job], locks: Sequence[int]) -> None:
        """Start those that another study has not done meanwhile."""
        to_run = []
        for job in jobs:
            state = self.recorded.state(job)
            if state.done is not None and state.settles(self.again):
                self.done[job.key] = state.done
                self.overview.done_elsewhere(job, state.done)
            else:
                to_run.append((job, state))
        if to_run:
            started = self._launched(to_run, locks)
            self.running += started
            for run in started:
                self.overview.started(run)

    def _launched(self, to_run: Sequence[tuple[Job, State]], locks: Sequence[int]) -> list[Running]:
        """One process for all these jobs."""
        job, state = to_run[0]
        run_ids = [new_run_id() for _ in to_run]
        path = job.log_dir / OUTPUTS / f"{run_ids[0]}.txt"
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as output:
                if len(to_run) > 1:
                    words = [word for word in job.words if not word.startswith("seed=")]
                    seeds = [job.seed for job, _ in to_run]
                    process = launch_together(words, seeds, run_ids, output, held_files=locks)
                else:
                    resume = [f"resume={job.log_dir / state.unfinished}"] if state.unfinished else []
                    process = launch([*job.words, *resume], run_ids[0], output, self.threads, locks)
        except OSError as error:
            raise UserError(f"cannot start a run with its output in {path}: {error.strerror}") from None
        runs = zip(run_ids, to_run, strict=True)
        return [Running(job, process, run_id, path, state.steps) for run_id, (job, state) in runs]

    def _collect(self) -> None:
        for run in [run for run in self.running if run.process.poll() is not None]:
            self.running.remove(run)
            if run.process.returncode == 0 or is_complete(run.job.log_dir / run.run_id):
                self.done[run.job.key] = run.run_id
                self.overview.finished(run)
            else:
                failure = Failure(run.job, reason_of(run), run.output)
                self.failures.append(failure)
                self.overview.failed(run, failure.reason)

    def _stop(self) -> None:
        """Interrupt what is running, and wait for it; what does not end in time is killed, and can be gone on with."""
        if self.running:
            self.overview.say(f"stopping {runs(len(self.running))}")
        terminate(list({id(run.process): run.process for run in self.running}.values()))


def is_complete(folder: Path) -> bool:
    """Whether the record in `folder` is of a complete run, although its process, which it shared, has failed."""
    try:
        return bool(json.loads((folder / "run.json").read_text())["status"] == "COMPLETED")
    except (OSError, ValueError, KeyError):
        return False


def reason_of(run: Running) -> str:
    """Why a run failed: the last line that it printed, or its process of it alone, and the signal if one killed it."""
    code = run.process.returncode
    killed = [f"killed by {signal.Signals(-code).name}"] if code < 0 else []
    lines = [line.strip() for line in run.output.read_text(errors="replace").split("\n") if line.strip()]
    own = f"seed {run.job.seed}: "
    of_it = [line.removeprefix(own) for line in lines if line.startswith(own)]
    last = (of_it or lines or [""])[-1]
    return "; ".join([*killed, last] if last else killed) or f"exit code {code}"
