"""Reading ahead of what the networks need."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")

AHEAD = 2  # results that wait for each worker


def prefetch(read: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """`read(job)` of each job, in order, read ahead by so many threads (0: as they are asked for).

    The results do not depend on the number of workers if `read` is a function of the job alone.
    """
    if workers == 0:
        yield from map(read, jobs)
        return
    waiting: deque[Future[Result]] = deque()
    torch.get_num_threads()  # settles the number of this thread, which else would be that of the first worker
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
    """In this thread, and in those that begin after it, PyTorch takes no further threads: as many again for each thread
    would be more than cores."""
    torch.set_num_threads(1)
