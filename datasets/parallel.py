"""Work on all cores, with a line of progress on the terminal."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Job = TypeVar("Job")


def in_parallel(work: Callable[[Job], None], jobs: Sequence[Job], purpose: str, workers: int | None = None) -> None:
    """Call `work` for each of `jobs` on `workers` threads (None: one per core that this process may use).

    Shows `purpose` and how far it is, if standard error is a terminal. The first job in order that fails ends it, with
    its error.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TaskProgressColumn())
    remaining, left = TimeRemainingColumn(compact=True), TextColumn("left")
    console = Console(file=sys.__stderr__)
    progress = Progress(*columns, remaining, left, console=console, transient=True, disable=not console.is_terminal)
    with progress, ThreadPoolExecutor(workers or num_cores()) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in progress.track(futures, description=purpose):
                future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
