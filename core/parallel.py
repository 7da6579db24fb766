"""A parallel map over worker processes, for CPU work that holds the GIL."""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from debiaslab.core.process import keep_freed_memory

Job = TypeVar("Job")
Result = TypeVar("Result")

# Forked workers start instantly. Outside of Linux forking is unsafe, and workers spend seconds on imports
START = "fork" if sys.platform == "linux" else "spawn"
CHUNK = 4  # jobs sent to a worker at a time
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def map_in_processes(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Yield `work(job)` for each job, in order, computed by `workers` processes; with 1, by this process.

    `work` must be a module-level function, and must not use PyTorch, whose threads do not survive a fork. Workers
    receive all jobs when they start, and end when the iterator is closed. On Linux they do not outlive the thread that
    requests the first result.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context(START)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(work, jobs)) as pool:
        try:
            yield from pool.map(_result, range(len(jobs)), chunksize=CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


# in a worker
_work: Callable[[Any], Any]
_jobs: Sequence[Any]


def _begin(work: Callable[[Job], Result], jobs: Sequence[Job]) -> None:
    """Reset the signal handlers inherited from the parent, and ignore signals sent to whole terminals or jobs.

    The parent handles those, and ends the workers.
    """
    global _work, _jobs
    _work, _jobs = work, jobs
    for name in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    keep_freed_memory()


def _result(position: int) -> Any:
    return _work(_jobs[position])
