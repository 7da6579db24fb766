"""The progress of a study: live on a terminal, otherwise a line when a run starts or ends."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from debiaslab.commands.studies.jobs import Job
from debiaslab.core.console import PrintableConsole
from debiaslab.core.durations import duration
from debiaslab.evaluation.history import EVALUATIONS

TAIL_BYTES = 1 << 17  # enough for the last evaluation
LOOK_SECONDS = 2.0  # interval of checks of the running jobs' records


@dataclass(frozen=True)
class Running:
    """A started run; `before` optimiser steps were done by the run that it resumes."""

    job: Job
    run_id: str
    before: int
    start: float = field(default_factory=time.monotonic)


class Overview:
    """A context manager that shows the progress of `total` jobs."""

    def __init__(self, total: int) -> None:
        console = PrintableConsole(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self.live = console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[note]}"))
        self.progress = Progress(*columns, console=console, transient=True, disable=not self.live)
        self.whole = self.progress.add_task("study", total=total, note="")
        self.tasks: dict[str, TaskID] = {}
        self.total, self.ended, self.worked = total, 0, 0.0  # `worked`: work done here, in units of jobs
        self.elsewhere: set[str] = set()
        self.start = self.looked = time.monotonic()

    def __enter__(self) -> "Overview":
        self.progress.start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        self.progress.console.print(text)

    # ---- events

    def started(self, run: Running) -> None:
        self.tasks[run.run_id] = self.progress.add_task(f"  {run.job.label}", total=1.0, note="starts")
        if not self.live:
            self.say(f"started   {run.job.label}: {run.job.log_dir / run.run_id}")

    def finished(self, run: Running) -> None:
        self._ended(run)
        took = duration(time.monotonic() - run.start)
        self.say(f"finished  {run.job.label}: {run.job.log_dir / run.run_id}, {took} ({self.ended} of {self.total})")

    def failed(self, run: Running, reason: str) -> None:
        self._ended(run)
        self.say(f"FAILED    {run.job.label}: {reason} ({self.ended} of {self.total})")

    def back_in_queue(self, run: Running) -> None:
        """Report that a run on a cluster was interrupted, and will be resumed."""
        self.progress.remove_task(self.tasks.pop(run.run_id))
        self.say(f"requeued  {run.job.label}: {run.job.log_dir / run.run_id}")

    def is_elsewhere(self, job: Job) -> None:
        """Report, once, that another study, here or on another machine, runs the job."""
        if job.key not in self.elsewhere:
            self.elsewhere.add(job.key)
            self.say(f"waiting   {job.label}: another study runs it")

    def done_elsewhere(self, job: Job, place: str) -> None:
        self.ended += 1
        self.say(f"done      {job.label}: {place} ({self.ended} of {self.total})")

    def _ended(self, run: Running) -> None:
        self.ended += 1
        self.worked += 1 - share(run.before, run.job)
        if run.run_id in self.tasks:
            self.progress.remove_task(self.tasks.pop(run.run_id))

    # ---- progress

    def update(self, running: Sequence[Running], waiting: int) -> None:
        """Update the terminal."""
        now = time.monotonic()
        if not self.live or now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        worked, left = self.worked, float(waiting)
        for run in running:
            done = max(share(last_step(run.job.log_dir / run.run_id), run.job), share(run.before, run.job))
            worked += done - share(run.before, run.job)
            left += 1 - done
            self.progress.update(self.tasks[run.run_id], completed=done, note=f"{100 * done:.0f} %")
        rest = f", {duration((now - self.start) * left / worked)} left" if worked > 0 else ""
        note = f"{self.ended} of {self.total} done, {len(running)} running{rest}"
        self.progress.update(self.whole, completed=self.total - left, note=note)


def share(step: int, job: Job) -> float:
    """`step` as a fraction of the job's optimiser steps."""
    return min(1.0, step / job.data.steps) if job.data is not None and job.data.steps else 0.0


def last_step(folder: Path) -> int:
    """The optimiser steps at the last recorded evaluation of a run; 0 before the first one."""
    try:
        with (folder / EVALUATIONS).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line).get("step", 0))
        except ValueError:
            continue  # an incomplete line
    return 0
