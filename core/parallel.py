"""Worker processes, for work on many small things: in threads of one process they would wait for each other."""

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

# Forked, they begin at once; elsewhere that is not safe, and they import what they need, which takes seconds
START = "fork" if sys.platform == "linux" else "spawn"
AT_ONCE = 4  # jobs that a worker is told of, and tells of
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def map_in_processes(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """`work(job)` of each job, in order, by so many processes; by this one, if it is one.

    `work` is a function of a module. It must not use PyTorch, whose threads a forked process does not have. A worker
    has all jobs from its beginning, and ends when no more results are asked for. On Linux, it does not outlive the
    thread that asks for the first result.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context(START)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(work, jobs)) as pool:
        try:
            yield from pool.map(_result, range(len(jobs)), chunksize=AT_ONCE)
        finally:
            pool.shutdown(cancel_futures=True)


# of a worker
_work: Callable[[Any], Any]
_jobs: Sequence[Any]


def _begin(work: Callable[[Job], Result], jobs: Sequence[Job]) -> None:
    """Ctrl-C reaches every process of a terminal: it is for the parent to handle. Forked, a worker has its handlers."""
    global _work, _jobs
    _work, _jobs = work, jobs
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    keep_freed_memory()


def _result(position: int) -> Any:
    return _work(_jobs[position])
