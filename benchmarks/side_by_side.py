"""Compare two ways to do the same work: alternating repeats, each with its own peak memory."""

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

REPEATS = 5  # after a warm-up
# the defaults of libgomp and PyTorch, which the papers' code has and core/process.py replaces
USUAL = {"GOMP_SPINCOUNT": "300000", "THP_MEM_ALLOC_ENABLE": "0"}
SETTLE = 0.5  # seconds for the baseline's workers to finish reading ahead, where the clock counts them

# Prepares a repeat and returns it. For wall time and memory it is called in a new process, so it must be a module-level
# function or a `functools.partial` of one
Prepare = Callable[[], Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table: a measurement and, if there is one, its baseline.

    `ratio` is how many times better ours is than `baseline`: the median over pairs of repeats, with the extremes
    `least` and `most`; `goal` is the ratio to reach. Memory is peak resident memory in GiB, without workers. `roofline`
    is the fraction of our time that the work needs at this machine's measured rates (`machine.Work`).
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
    """What `compare` measures: `ours()` and `baseline()` each return a repeat, and both repeats do the same work.

    `unit` starts with s, ms or us and is per one of the `count` items (such as steps) in a repeat. `work` is the work
    of one repeat. With `clock=time.process_time`, which ignores other processes, both run on one thread, as it would
    count threads that wait for each other.
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
    """Measure ours and the baseline in alternation, after one warm-up each.

    Wall time is measured in a process for each: ours set up as for a run, the baseline with `USUAL`.
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
    """Yield functions that run one repeat of ours and of the baseline, and return its seconds."""
    if pair.clock is not time.perf_counter:
        yield partial(timed, pair.ours(), pair.clock), partial(timed, pair.baseline(), pair.clock)
        return
    with _process(pair.ours) as ours, _process(pair.baseline, usual=True) as baseline:
        yield lambda: ours.submit(_repeat).result(), lambda: baseline.submit(_repeat).result()


@contextmanager
def _process(prepare: Prepare, usual: bool = False) -> Iterator[ProcessPoolExecutor]:
    """Start a process, prepared for repeats; set up as for a run, or with `USUAL`."""
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
    """Return the seconds of one call, including the work it queues on the device."""
    wait_for_device()
    start = clock()
    work()
    wait_for_device()
    return clock() - start


def processor_seconds() -> float:
    """Return the CPU time of this process and its live workers (Linux), which ignores other load on the machine."""
    ticks = 0
    for worker in multiprocessing.active_children():
        times = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[11:13]  # user, system
        ticks += sum(map(int, times))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def median_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median seconds of `repeats` calls, after a warm-up."""
    return statistics.median([timed(work) for _ in range(repeats + 1)][1:])


def has_usual(pair: SideBySide) -> bool:
    """Whether the baseline runs with `USUAL`: only wall time is measured in separate processes."""
    return pair.clock is time.perf_counter


def peak_memory(prepare: Prepare, usual: bool = False) -> float:
    """Return the peak resident memory, in GiB, of a new process that runs one repeat."""
    with _process(prepare, usual) as process:
        process.submit(_repeat).result()
        return process.submit(resident_peak).result()


def resident_peak() -> float:
    """Return the peak resident memory of this process so far, in GiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts the parent's memory at the time of the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
