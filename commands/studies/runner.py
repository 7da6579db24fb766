"""Runs jobs in processes of their own, several at a time; each at most once, whoever else runs a study."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from commands.studies.jobs import Job
from commands.studies.overview import Overview, runs
from commands.studies.recorded import Recorded, State, try_lock
from core.errors import UserError
from recording.children import noted_interruption, terminate
from recording.launch import launch
from recording.observers import new_run_id

POLL_SECONDS = 0.2
OUTPUTS = "_output"  # folder among the records for what the runs print


@dataclass
class Running:
    """A run that is on its way; `before` of its optimiser steps were done by the run that it goes on with."""

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

    `run` leaves the ids of the complete runs in `done`, by the jobs' keys, and what failed in `failures`.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        recorded: Recorded,
        *,
        again: bool,
        parallel: int,
        threads: int | None,
        overview: Overview,
    ) -> None:
        self.waiting, self.recorded, self.again = list(jobs), recorded, again
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
                    self.overview.update(self.running, len(self.waiting))
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop()
        if interruption.requested:
            raise KeyboardInterrupt

    def _start(self) -> None:
        """Start what has a place and is not run by another study; what has been done meanwhile is done."""
        for job in list(self.waiting):
            if len(self.running) >= self.parallel:
                return
            lock = try_lock(self.recorded.log_dir, job.key)
            if lock is None:
                self.overview.is_elsewhere(job)
                continue
            with lock:  # from here on the run's process holds it
                self.waiting.remove(job)
                state = self.recorded.state(job)
                if state.done is not None and state.settles(self.again):
                    self.done[job.key] = state.done
                    self.overview.done_elsewhere(job, state.done)
                else:
                    self.running.append(self._launched(job, state, lock.fileno()))
                    self.overview.started(self.running[-1])

    def _launched(self, job: Job, state: State, lock: int) -> Running:
        run_id = new_run_id()
        path = job.log_dir / OUTPUTS / f"{run_id}.txt"
        resume = [f"resume={job.log_dir / state.unfinished}"] if state.unfinished else []
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as output:
                process = launch([*job.words, *resume], run_id, output, self.threads, [lock])
        except OSError as error:
            raise UserError(f"cannot start a run with its output in {path}: {error.strerror}") from None
        return Running(job, process, run_id, path, state.steps)

    def _collect(self) -> None:
        for run in [run for run in self.running if run.process.poll() is not None]:
            self.running.remove(run)
            if run.process.returncode == 0:
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
        terminate([run.process for run in self.running])


def reason_of(run: Running) -> str:
    """Why a run failed: the last line that it printed, and the signal if one killed it."""
    code = run.process.returncode
    killed = [f"killed by {signal.Signals(-code).name}"] if code < 0 else []
    lines = run.output.read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "; ".join([*killed, last] if last else killed) or f"exit code {code}"
