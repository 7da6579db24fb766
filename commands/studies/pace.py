"""Measure whether runs are faster in separate processes or trained as one, on a few steps of each phase."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

from debiaslab.lockstep.batches import Step, plan_batches
from debiaslab.lockstep.graphs import descent_of, replay_phases
from debiaslab.lockstep.stacking import Stack
from debiaslab.settings.setup import Setup
from debiaslab.training.batches import Batches
from debiaslab.training.device import cpu_threads, threads_for, wait_for_device
from debiaslab.training.loop import prepare_phase

STEPS = 20  # timed steps, after as many warm-up steps


@dataclass(frozen=True)
class Pace:
    """Mean seconds of a training step: of one run `alone`, and of all `count` runs `together`."""

    count: int
    alone: float
    together: float

    def apart(self, parallel: int) -> float:
        """Seconds for a step of each run in separate processes, `parallel` at a time."""
        return self.alone * ceil(self.count / parallel)

    def together_pays(self, parallel: int) -> bool:
        return self.together < self.apart(parallel)


def measure_pace(setups: Sequence[Setup], threads: int | None) -> Pace:
    """Measure the pace of the runs `setups`, which differ only in their seed, on their device.

    On the CPU a separate run has `threads` threads (None: torch's default), runs trained as one have all; small
    networks have one thread in either case (`threads_for`).
    """
    device = setups[0].device()
    data = setups[0].place(setups[0].load_data(), device)
    methods = [setup.build_method(data, device) for setup in setups]
    phases = [replay_phases(method.phases()) if setups[0].run.cuda_graphs else method.phases() for method in methods]
    alone = together = steps = 0.0
    for of_each in zip(*phases, strict=True):
        phase = of_each[0]
        batches = Batches(data, phase, setups[0].run.seed, methods[0].needs_bias, setups[0].run.workers)
        batch = next(plan_batches(batches, 0))
        steps_of_each = [Step(method, own, batch) for method, own in zip(methods, of_each, strict=True)]
        for step in steps_of_each:
            prepare_phase(step.method, step.phase, batches)
        all_of_them: float | None = None
        if descent_of(phase) is not None:
            stack = Stack(steps_of_each)
            with threads_for(methods[0]):
                all_of_them = seconds(partial(stack.update, steps_of_each), batches.num_steps)
            stack.part()
            del stack  # and its memory
        with cpu_threads(threads), threads_for(methods[0]):
            one = seconds(lambda: phase.update(batch.make()), batches.num_steps)  # noqa: B023 (done at once)
        if all_of_them is None:
            all_of_them = len(methods) * one
        alone += one * batches.num_steps
        together += all_of_them * batches.num_steps
        steps += batches.num_steps
    return Pace(len(methods), alone / steps, together / steps)


def seconds(step: Callable[[], object], num_steps: int) -> float:
    """Mean seconds of a step of a phase of `num_steps`."""
    count = min(STEPS, num_steps)
    for _ in range(count):
        step()
    wait_for_device()
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait_for_device()
    return (time.perf_counter() - start) / count
