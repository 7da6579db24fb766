"""Progress: a bar with steps and remaining time on a terminal; otherwise, as in a log, a line per evaluation."""

import sys
import time
from types import TracebackType
from typing import ClassVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from debiaslab.core.durations import duration

REFRESH_SECONDS = 0.1


class ProgressLine:
    """A context manager; `update` may be called at every step and costs almost nothing without a terminal.

    Only one is shown at a time, for runs that are trained as one: the others are silent.
    """

    shown: ClassVar["ProgressLine | None"] = None

    def __init__(self) -> None:
        # the original standard error, to keep the output that Sacred captures small
        console = Console(file=sys.__stderr__)
        terminal = console.is_terminal and sys.__stderr__ is not None and sys.__stderr__.isatty()
        self.is_first = ProgressLine.shown is None
        self.visible = terminal and self.is_first
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TimeRemainingColumn(compact=True),
            TextColumn("left  {task.fields[note]}"),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self.visible,
        )
        self.is_log = self.is_first and not terminal
        self.tasks: dict[str, TaskID] = {}
        self.last = 0.0
        self.place = ("", 0, 0)  # phase, step and number of steps
        self.start = (0, 0.0)  # step before the first one of the phase that was seen, and when it ended

    def __enter__(self) -> "ProgressLine":
        if self.is_first:
            ProgressLine.shown = self
        self.bar.start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bar.stop()
        if ProgressLine.shown is self:
            ProgressLine.shown = None

    def update(self, phase: str, step: int, num_steps: int) -> None:
        """`step` of `num_steps` of the phase are done."""
        if phase != self.place[0]:
            self.start = (step, time.monotonic())
        self.place = (phase, step, num_steps)
        if not self.visible:
            return
        now = time.monotonic()
        if now - self.last < REFRESH_SECONDS and step < num_steps and phase in self.tasks:
            return
        self.last = now
        if phase not in self.tasks:
            for task in self.tasks.values():
                self.bar.remove_task(task)
            self.tasks = {phase: self.bar.add_task(phase, total=num_steps, note="")}
        self.bar.update(self.tasks[phase], completed=step)

    def seconds_left(self) -> float | None:
        """The remaining seconds of the phase at its pace so far; None before that is known."""
        _, step, num_steps = self.place
        first_step, first_time = self.start
        if step == first_step:
            return 0.0 if step == num_steps else None
        return (time.monotonic() - first_time) / (step - first_step) * (num_steps - step)

    def log(self, text: str) -> None:
        """Print a line with the remaining time to standard output, unless that is a terminal."""
        if self.is_log:
            seconds = self.seconds_left()
            left = "" if seconds is None else f"; {duration(seconds)} left of {self.place[0]}"
            print(f"{text}{left}", flush=True)

    def note(self, text: str) -> None:
        """Show a short text after the bar, such as the latest accuracy."""
        for task in self.tasks.values():
            self.bar.update(task, note=text)
