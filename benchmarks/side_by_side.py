"""Two ways to do the same work, timed in turns; the memory of each in a process of its own."""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.machine import Work, measured_rates
from debiaslab.core.process import ENVIRONMENT, set_up_torch
from debiaslab.training.device import wait_for_device

REPEATS = 5  # after one to warm up
# the defaults of libgomp and PyTorch, which the papers' code has and core/process.py replaces
USUAL = {"GOMP_SPINCOUNT": "300000", "THP_MEM_ALLOC_ENABLE": "0"}
SETTLE = 0.5  # seconds in which workers of the baseline, if the clock can see them, finish what they read ahead

# makes ready what a repeat needs, and returns the repeat. Wall time and memory are measured in new processes, which
# call it there: a function of a module, or a `functools.partial` of one
Prepare = Callable[[], Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measured number and, where there is one, what it is compared with; a line of the printed table.

    `ratio`: how many times better than `baseline`, the median over pairs of repeats, of which `least` and `most` are
    the extremes; `goal` is the ratio to reach. Memory is the peak resident size, in GiB, without workers. `roofline`
    is the part of the time that the work would take at this machine's measured rates (`machine.Work`).
    """

    name: str
    unit: str  # such as "s per epoch" or "images/s"
    ours: float
    against: str | None = None  # what the baseline is
    baseline: float | None = None
    ratio: float | None = None
    least: float | None = None
    most: float | None = None
    goal: float | None = None
    memory: float | None = None
    baseline_memory: float | None = None
    roofline: float | None = None
    repeats: int = 1


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """What `compare` measures. A repeat takes `ours()()` and `baseline()()`; both do the same work.

    `unit` is a time, in seconds or, with ms or us in front, in parts of one; each repeat does `count` of what it is
    told of, such as steps. `work` is that of one repeat. `clock`: `time.process_time` leaves other processes out, for
    work within one process. By such a clock both have one thread: it would count how threads wait for each other.
    """

    name: str
    ours: Prepare
    baseline: Prepare
    unit: str
    against: str = "reference style"
    count: int = 1
    goal: float | None = None
    work: Work | None = None
    repeats: int = REPEATS
    clock: Callable[[], float] = time.perf_counter
    memory: bool = True


def compare(pair: SideBySide) -> Row:
    """Measure ours and the baseline in turns, after one repeat each to warm up.

    In wall time, each is measured in a process of its own: ours set up as a run's, the baseline with `USUAL`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if pair.clock is time.perf_counter else 1)
    times = []
    with _timers(pair) as (ours, baseline):
        baseline()  # first, as it may start workers: what we have before that is copied when we write it again
        ours()
        for _ in range(pair.repeats):
            if pair.clock is not time.process_time:
                time.sleep(SETTLE)
            times.append((ours(), baseline()))
    work_seconds = None if pair.work is None else measured_rates(torch.get_num_threads()).seconds(pair.work)
    torch.set_num_threads(threads)
    ratios = [theirs / own for own, theirs in times]
    seconds = statistics.median(own for own, _ in times)
    scale = {"ms": 1e3, "us": 1e6}.get(pair.unit.split()[0], 1.0) / pair.count
    return Row(
        name=pair.name,
        unit=pair.unit,
        ours=scale * seconds,
        against=pair.against,
        baseline=scale * statistics.median(theirs for _, theirs in times),
        ratio=statistics.median(ratios),
        least=min(ratios),
        most=max(ratios),
        goal=pair.goal,
        memory=peak_memory(pair.ours) if pair.memory else None,
        baseline_memory=peak_memory(pair.baseline, usual=has_usual(pair)) if pair.memory else None,
        roofline=None if work_seconds is None else work_seconds / seconds,
        repeats=pair.repeats,
    )


@contextmanager
def _timers(pair: SideBySide) -> Iterator[tuple[Callable[[], float], Callable[[], float]]]:
    """What does a repeat and returns its seconds: of ours, and of the baseline."""
    if pair.clock is not time.perf_counter:
        yield partial(timed, pair.ours(), pair.clock), partial(timed, pair.baseline(), pair.clock)
        return
    with _process(pair.ours) as ours, _process(pair.baseline, usual=True) as baseline:
        yield lambda: ours.submit(_repeat).result(), lambda: baseline.submit(_repeat).result()


@contextmanager
def _process(prepare: Prepare, usual: bool = False) -> Iterator[ProcessPoolExecutor]:
    """A new process that is prepared to do repeats: set up as a run's or, `usual`, by nobody."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare, initargs=(prepare, usual)) as pool:
        with patch.dict(os.environ, USUAL if usual else ENVIRONMENT):
            pool.submit(os.getpid).result()  # starts it
        yield pool


_prepared: Callable[[], object]  # in such a process


def _prepare(prepare: Prepare, usual: bool) -> None:
    global _prepared
    if not usual:
        set_up_torch()
    _prepared = prepare()


def _repeat() -> float:
    return timed(_prepared)


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, with what it leaves the device to do."""
    wait_for_device()
    start = clock()
    work()
    wait_for_device()
    return clock() - start


def processor_seconds() -> float:
    """Processor time so far of this process and of its worker processes that run (on Linux): a clock that leaves out
    what else a busy machine does."""
    ticks = 0
    for worker in multiprocessing.active_children():
        times = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[11:13]  # user, system
        ticks += sum(map(int, times))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median over so many calls, after one to warm up."""
    return statistics.median([timed(work) for _ in range(repeats + 1)][1:])


def has_usual(pair: SideBySide) -> bool:
    """Whether the baseline has `USUAL`; by other clocks than wall time, both share a process and its set-up."""
    return pair.clock is time.perf_counter


def peak_memory(prepare: Prepare, usual: bool = False) -> float:
    """Largest resident size, in GiB, of a new process that does one repeat."""
    with _process(prepare, usual) as process:
        process.submit(_repeat).result()
        return process.submit(resident_peak).result()


def resident_peak() -> float:
    """Largest resident size of this process so far, in GiB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells counts the parent as it was when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
