"""Prefetch batches in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")

AHEAD = 2  # finished results kept per worker


def prefetch(read: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Yield `read(job)` for each job, in order, read ahead by `workers` threads (0: on demand, in this thread).

    If `read` is a function of the job alone, results do not depend on the number of workers.
    """
    if workers == 0:
        yield from map(read, jobs)
        return
    waiting: deque[Future[Result]] = deque()
    torch.get_num_threads()  # fixes the number for this thread, which would otherwise copy the first worker's
    with ThreadPoolExecutor(workers, initializer=_compute_alone) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(read, job))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _compute_alone() -> None:
    """Keep PyTorch from starting further threads in this worker: together they would exceed the number of cores."""
    torch.set_num_threads(1)
