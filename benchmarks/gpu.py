"""The goals for one GPU: whole trainings, extrapolated from a part of them, and the share of kernels in a step.

The trainings use the training loop, with an evaluation after every epoch. One-off work, such as capturing a graph, is
extrapolated with the rest and so overestimated. A goal is reached if the ratio is 1 or more.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import resnet18
from benchmarks.colored_mnist import published_data
from benchmarks.side_by_side import Row, timed
from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.lockstep.graphs import replay_phases
from debiaslab.lockstep.together import fit_together
from debiaslab.methods import Method, Task, method_class
from debiaslab.models import Networks, architecture
from debiaslab.models.numerics import Numerics
from debiaslab.training.batches import Batches
from debiaslab.training.device import choose_device
from debiaslab.training.loop import Options, Trainer, prepare_phase

PROFILED_STEPS = 100
KERNELS_SHARE = 1 / 1.5  # goal: a step takes at most 1.5 times as long as its kernels
SEEDS, SEEDS_COST = 5, 1.5  # goal: so many trainings as one take at most 1.5 times as long as a single one
DEVICE_WORK = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of the profiler's trace


@dataclass(frozen=True)
class Training:
    """A training to measure: `hparams` make it one `scale`-th of the whole one, whose goal is `goal` seconds."""

    name: str
    method: str
    hparams: dict[str, Any]
    data: Callable[[], BiasedDataset]
    model: str
    scale: int
    goal: float
    numerics: Numerics
    cuda_graphs: bool

    @property
    def title(self) -> str:
        return f"{self.name}, CUDA graphs" if self.cuda_graphs else self.name

    def trainer(self, device: torch.device, seed: int = 1) -> Trainer:
        data = self.data().to(device)
        networks = Networks(
            architecture(self.model, {}), data.test.image_shape, data.num_classes, seed, numerics=self.numerics
        )
        cls = method_class(self.method)
        task = Task(data.num_classes, data.train.target.cpu(), seed)
        method: Method = cls(cls.Config(**self.hparams), networks, task).to(device)
        trainer = Trainer(method, data, Options(seed=seed, selection="last"), Silent())
        if self.cuda_graphs:
            trainer.phases = replay_phases(trainer.phases)
        return trainer


class Silent:
    """An observer that ignores everything."""

    def progress(self, phase: str, step: int, num_steps: int) -> None: ...

    def evaluated(self, history: History, evaluation: Evaluation) -> None: ...


DENETDM = partial(
    Training,
    method="denetdm",
    hparams={"epochs": 10, "hand_over": "oracle_test_conflicting"},
    data=published_data,
    model="mlp_branches",
    scale=10,
    numerics=Numerics(),
)
RESNET = partial(
    Training,
    hparams={"num_steps": 2_000, "epochs": None, "batch_size": 256, "drop_last": True},
    data=resnet18.data,
    model="resnet18",
    scale=25,
    numerics=Numerics("bf16", channels_last=True),
)
WHOLE = (
    partial(DENETDM, name="DeNetDM on Colored MNIST, 100 + 100 epochs", goal=30),
    partial(RESNET, name="ERM, ResNet-18 on 32 x 32, 50,000 steps, bf16, channels_last", method="erm", goal=60),
    partial(RESNET, name="LfF, ResNet-18 on 32 x 32, 50,000 steps, bf16, channels_last", method="lff", goal=150),
)


def run() -> list[Row]:
    if not torch.cuda.is_available():
        print("nothing measured: the goals for a GPU need a GPU with CUDA")
        return []
    device = choose_device("cuda")
    trainings = [training(cuda_graphs=graphs) for training in WHOLE for graphs in (True, False)]
    rows = [whole_training(training, device) for training in trainings]
    rows.append(several_seeds(trainings[0], device))
    # last, as the profiler stays in the way of what is measured after it
    return [*rows, *(row for training in trainings for row in steps(training, device))]


def whole_training(training: Training, device: torch.device) -> Row:
    """Measure the time of the whole training, after a warm-up."""
    timed(training.trainer(device).fit)
    seconds = training.scale * timed(training.trainer(device).fit)
    return Row(
        name=f"{training.title}, scaled by {training.scale}",
        unit="s",
        ours=seconds,
        against="goal",
        baseline=training.goal,
        ratio=training.goal / seconds,
        goal=1,
    )


def several_seeds(training: Training, device: torch.device) -> Row:
    """Measure the time of several seeds trained as one against that of a single one, after a warm-up of both."""
    for _ in range(2):
        one = timed(training.trainer(device).fit)
        trainers = [training.trainer(device, seed) for seed in range(1, SEEDS + 1)]
        together = timed(partial(fit_together, trainers))
    return Row(
        name=f"{training.title}: {SEEDS} seeds as one, scaled by {training.scale}",
        unit="s",
        ours=training.scale * together,
        against="a single one",
        baseline=training.scale * one,
        ratio=one / together,
        goal=1 / SEEDS_COST,
    )


def steps(training: Training, device: torch.device) -> list[Row]:
    """Measure the time of a step of each phase, with its batch, against the sum of its kernels."""
    rows = []
    trainer = training.trainer(device)
    for phase in trainer.phases:
        batches = Batches(trainer.data, phase, seed=1, with_bias=False)
        prepare_phase(trainer.method, phase, batches)
        source = batches.from_step(0)

        def work() -> None:
            for batch in islice(source, PROFILED_STEPS):  # noqa: B023 (done before the next phase)
                phase.update(batch)  # noqa: B023

        work()
        seconds, kernels = timed(work) / PROFILED_STEPS, kernel_seconds(work) / PROFILED_STEPS
        rows.append(
            Row(
                name=f"{training.title}: step of {phase.name}",
                unit="ms per step",
                ours=1e3 * seconds,
                against="sum of its kernels",
                baseline=1e3 * kernels,
                ratio=kernels / seconds,
                goal=KERNELS_SHARE,
            )
        )
    return rows


def kernel_seconds(work: Callable[[], object]) -> float:
    """Return the device time of a call in seconds, summed over the profiler's kernels."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return kernels_in(json.loads(path.read_text()))


def kernels_in(trace: dict[str, Any]) -> float:
    """Sum the times of kernels and copies in a trace, in seconds (the trace has microseconds)."""
    return sum(float(event["dur"]) for event in trace["traceEvents"] if event.get("cat") in DEVICE_WORK) / 1e6
