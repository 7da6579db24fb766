"""The running losses of 60,000 samples, of LfF and DisEnt, against a loop over classes."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.colored_mnist import published_data
from benchmarks.reference import ClassLoopEMA
from benchmarks.side_by_side import Row, SideBySide, compare
from debiaslab.core.randomness import torch_generator
from debiaslab.methods.per_sample import RelativeDifficulty, RunningLosses

BATCH_SIZE, CLASSES, DECAY = 256, 10, 0.7
BATCHES = 100  # of a repeat


def run() -> list[Row]:
    pairs = (
        ("class maxima", our_maxima, loop_maxima),
        ("running losses and weights of a batch", our_weights, loop_weights),
    )
    return [
        compare(
            SideBySide(
                name=name,
                ours=ours,
                baseline=baseline,
                against="class loop",
                unit="us per batch",
                count=BATCHES,
                goal=50,
                clock=time.process_time,
                memory=False,
            )
        )
        for name, ours, baseline in pairs
    ]


def target() -> Tensor:
    return published_data().train.target


def batches() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return (index, biased loss, debiased loss) of each batch."""
    generator = torch_generator(0, "benchmark losses")
    size = len(target())
    return [
        (
            torch.randperm(size, generator=generator)[:BATCH_SIZE],
            torch.rand(BATCH_SIZE, generator=generator),
            torch.rand(BATCH_SIZE, generator=generator),
        )
        for _ in range(BATCHES)
    ]


def our_maxima() -> Callable[[], object]:
    losses = RunningLosses(target(), CLASSES, DECAY, {"biased": 0.0})
    return lambda: [losses.class_maxima() for _ in range(BATCHES)]


def loop_maxima() -> Callable[[], object]:
    ema = ClassLoopEMA(target(), CLASSES, DECAY)
    return lambda: [ema.largest(label) for _ in range(BATCHES) for label in range(CLASSES)]


def our_weights() -> Callable[[], object]:
    difficulty, all_batches = RelativeDifficulty(target(), CLASSES, DECAY), batches()
    return lambda: [difficulty.weigh(*batch) for batch in all_batches]


def loop_weights() -> Callable[[], object]:
    emas, targets, all_batches = [ClassLoopEMA(target(), CLASSES, DECAY) for _ in range(2)], target(), batches()

    def weights() -> None:
        for index, *losses in all_batches:
            for ema, loss in zip(emas, losses, strict=True):
                ema.update(index, loss)
            biased, debiased = (ema.normalized(index, targets[index]) for ema in emas)
            biased / (biased + debiased + 1e-8)

    return weights
