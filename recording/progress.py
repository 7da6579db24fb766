"""One line of progress on the terminal: phase, bar, steps, time left. Silent elsewhere."""

import sys
import time
from types import TracebackType
from typing import ClassVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

REFRESH_SECONDS = 0.1


class ProgressLine:
    """A context manager; `update` may be called at every step and costs nothing where there is no terminal.

    Only one is shown at a time: the others are silent.
    """

    shown: ClassVar[Progress | None] = None

    def __init__(self) -> None:
        # the real standard error: what Sacred captures must stay small
        console = Console(file=sys.__stderr__)
        terminal = console.is_terminal and sys.__stderr__ is not None and sys.__stderr__.isatty()
        self.visible = terminal and ProgressLine.shown is None
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
        self.tasks: dict[str, TaskID] = {}
        self.last = 0.0

    def __enter__(self) -> "ProgressLine":
        if self.visible:
            ProgressLine.shown = self.bar
        self.bar.start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.bar.stop()
        if ProgressLine.shown is self.bar:
            ProgressLine.shown = None

    def update(self, phase: str, step: int, num_steps: int) -> None:
        """`step` of `num_steps` of the phase are done."""
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

    def note(self, text: str) -> None:
        """A few words behind the bar, such as the latest accuracy."""
        for task in self.tasks.values():
            self.bar.update(task, note=text)
