"""Run jobs in separate processes, several in parallel; each only once, even with concurrent studies."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from debiaslab.commands.studies.jobs import Job
from debiaslab.commands.studies.overview import Overview, Running
from debiaslab.commands.studies.recorded import MONGO_SECONDS, Recorded, State, try_lock
from debiaslab.core.console import plural
from debiaslab.recording.launcher import OUTPUTS, Handle, Launcher, Outcome, supervise
from debiaslab.recording.observers import new_run_id


@dataclass(frozen=True)
class Failure:
    """A failed job, with the last line of its output and the output file."""

    job: Job
    reason: str
    output: Path


class Runner:
    """Runs jobs that are not done, `parallel` at a time with `threads` threads each.

    Each of `groups` is a process; several jobs in a group are trained as one, and then nothing else runs in parallel.
    `run` collects the ids of completed runs in `done`, by job key, and `failures`.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Job]],
        recorded: Recorded,
        launcher: Launcher,
        *,
        again: bool,
        parallel: int,
        threads: int | None,
        overview: Overview,
    ) -> None:
        self.waiting, self.recorded, self.launcher = [tuple(group) for group in groups], recorded, launcher
        self.again, self.parallel, self.threads, self.overview = again, parallel, threads, overview
        self.running: dict[Handle, list[Running]] = {}
        self.look_again: dict[str, float] = {}  # job key -> when to ask again whether another machine runs it
        self.done: dict[str, str] = {}
        self.failures: list[Failure] = []

    def run(self) -> None:
        """Run all jobs. A signal that ends runs stops them and raises `KeyboardInterrupt` (see `supervise`)."""
        with self.overview:
            supervise(self.launcher, self)

    def advance(self) -> bool:
        self._start()
        running = [run for runs_of_process in self.running.values() for run in runs_of_process]
        self.overview.update(running, sum(map(len, self.waiting)))
        return bool(self.waiting or self.running)

    def conclude(self, handle: Handle, outcome: Outcome, stopped: bool = False) -> None:
        for run in self.running.pop(handle):
            if outcome.code == 0 or is_complete(run.job.log_dir / run.run_id):
                self.done[run.job.key] = run.run_id
                self.overview.finished(run)
            elif not stopped:
                failure = Failure(run.job, reason_of(run, outcome), outcome.output)
                self.failures.append(failure)
                self.overview.failed(run, failure.reason)

    def stopping(self) -> None:
        if self.running:
            self.overview.say(f"stopping {plural(sum(map(len, self.running.values())), 'run')}")

    def _start(self) -> None:
        """Start groups while there is room, except jobs that another study runs or has completed meanwhile."""
        for group in list(self.waiting):
            if not self._has_place(group):
                return
            if time.monotonic() < self.look_again.get(group[0].key, 0.0):
                continue
            with ExitStack() as held:
                locks = [try_lock(self.recorded.log_dir, job.key) for job in group]
                files = [held.enter_context(lock) for lock in locks if lock is not None]  # kept open by the process
                elsewhere = [job for job, lock in zip(group, locks, strict=True) if lock is None]
                place = self.waiting.index(group)
                self.waiting[place : place + 1] = [(job,) for job in elsewhere]
                for job in elsewhere:
                    self.overview.is_elsewhere(job)
                self._start_locked([job for job in group if job not in elsewhere], [file.fileno() for file in files])

    def _has_place(self, group: Sequence[Job]) -> bool:
        if len(group) > 1 or any(len(several) > 1 for several in self.running.values()):  # trained as one: exclusively
            return not self.running
        return len(self.running) < self.parallel

    def _start_locked(self, jobs: Sequence[Job], locks: Sequence[int]) -> None:
        """Start the jobs that another study has not completed meanwhile, and that no other machine runs."""
        to_run = []
        for job in jobs:
            state = self.recorded.state(job)
            if state.done is not None and state.settles(self.again):
                self.done[job.key] = state.done
                self.overview.done_elsewhere(job, self.recorded.place(state.done))
            elif state.elsewhere:
                self.overview.is_elsewhere(job)
                self.look_again[job.key] = time.monotonic() + MONGO_SECONDS
                self.waiting.append((job,))
            else:
                to_run.append((job, state))
        if to_run:
            self._launch(to_run, locks)

    def _launch(self, to_run: Sequence[tuple[Job, State]], locks: Sequence[int]) -> None:
        """Start one process for all these jobs."""
        job, state = to_run[0]
        run_ids = [new_run_id() for _ in to_run]
        output = job.log_dir / OUTPUTS / f"{run_ids[0]}.txt"
        if len(to_run) > 1:
            words = [word for word in job.words if not word.startswith("seed=")]
            seeds = ",".join(str(job.seed) for job, _ in to_run)
            arguments = ["together", "with", *words, f"seeds={seeds}", f"ids={','.join(run_ids)}"]
            handle = self.launcher.start(arguments, output, held_files=locks)
        else:
            resume = [f"resume={job.log_dir / state.unfinished}"] if state.unfinished else []
            arguments = ["with", *job.words, *resume, f"--id={run_ids[0]}"]
            handle = self.launcher.start(arguments, output, self.threads, locks)
        started = [Running(job, run_id, state.steps) for run_id, (job, state) in zip(run_ids, to_run, strict=True)]
        self.running[handle] = started
        for run in started:
            self.overview.started(run)


def is_complete(folder: Path) -> bool:
    """Whether the record in `folder` is complete, although the process that it shared with others has failed."""
    try:
        return bool(json.loads((folder / "run.json").read_text())["status"] == "COMPLETED")
    except (OSError, ValueError, KeyError):
        return False


def reason_of(run: Running, outcome: Outcome) -> str:
    """Why a run failed: the last line of output about it, and what killed it, if anything."""
    killed = [outcome.cause] if outcome.code < 0 or outcome.lost else []
    last = outcome.last_line(f"seed {run.job.seed}: ")
    return "; ".join([*killed, *([last] if last else [])]) or outcome.cause
