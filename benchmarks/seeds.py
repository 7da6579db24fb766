"""Five seeds of one configuration on Colored MNIST: one stacked step of all, against their steps one after the other.

With two cores, two processes at a time would take half of the latter.
"""

import time
from collections.abc import Callable
from functools import partial

from benchmarks.colored_mnist import published_data
from benchmarks.side_by_side import Row, SideBySide, compare
from debiaslab.lockstep.batches import Step, plan_batches
from debiaslab.lockstep.stacking import Stack
from debiaslab.methods import Method, Task, method_class
from debiaslab.models import Networks, architecture
from debiaslab.training.batches import Batches
from debiaslab.training.device import choose_device

SEEDS, STEPS = 5, 20
MODELS = {"erm": "mlp", "lff": "mlp", "denetdm": "mlp_branches"}  # each with its phases
BATCH_SIZE = {"erm": 256, "lff": 256, "denetdm": 64}


def run() -> list[Row]:
    return [
        compare(
            SideBySide(
                name=f"{name}, {phase.name}: a step of {SEEDS} seeds",
                ours=partial(together, name, number),
                baseline=partial(in_turn, name, number),
                against="in turn",
                unit="ms of a processor",
                count=STEPS,
                clock=time.process_time,
            )
        )
        for name in MODELS
        for number, phase in enumerate(method_of(name, seed=1).phases())
    ]


def method_of(name: str, seed: int) -> Method:
    data, method = published_data(), method_class(name)
    networks = Networks(architecture(MODELS[name], {}), data.test.image_shape, data.num_classes, seed)
    task = Task(data.num_classes, data.train.target, seed)
    return method(method.Config(batch_size=BATCH_SIZE[name]), networks, task).to(choose_device("auto")).train()


def runs_of(name: str, number: int) -> Callable[[], list[Step]]:
    """Return a function that runs the next steps of phase `number` of all seeds, with their batches."""
    data = published_data().to(choose_device("auto"))
    methods = [method_of(name, seed) for seed in range(1, SEEDS + 1)]
    phases = [method.phases()[number] for method in methods]
    for phase in phases:
        phase.prepare(Batches(data, phase, seed=1, with_bias=False).in_order())
    streams = [plan_batches(Batches(data, phase, seed, with_bias=False), 0) for seed, phase in enumerate(phases)]
    return lambda: [Step(*asked) for asked in zip(methods, phases, map(next, streams), strict=True)]


def together(name: str, number: int) -> Callable[[], object]:
    next_steps = runs_of(name, number)
    stack = Stack(next_steps())
    return lambda: [stack.update(next_steps()) for _ in range(STEPS)]


def in_turn(name: str, number: int) -> Callable[[], object]:
    next_steps = runs_of(name, number)
    return lambda: [step.phase.update(step.batch.make()) for _ in range(STEPS) for step in next_steps()]
