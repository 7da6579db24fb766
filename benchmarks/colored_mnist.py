"""Colored MNIST for the benchmarks, and one epoch of training and one evaluation on it.

Real MNIST if `DEBIAS_DATA` (or data/) has it, else random images of the same shape. These take as long, except for the
effect of pixels that are always dark: without them, a network's weights stay larger.
"""

import os
from functools import lru_cache
from pathlib import Path

import torch

from debiaslab.core.errors import UserError
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets import BiasedDataset, Split, dataset_config
from debiaslab.evaluation.counting import measure_splits
from debiaslab.methods import Phase
from debiaslab.training.batches import Batches
from debiaslab.training.losses import LossSums


@lru_cache(maxsize=1)
def published_data() -> BiasedDataset:
    """Colored MNIST by the published protocol, on the CPU."""
    root = os.environ.get("DEBIAS_DATA", "data")
    if (Path(root) / "MNIST").is_dir():
        try:
            return dataset_config(
                {"name": "colored_mnist", "root": root, "protocol": "published", "skew": 0.005}
            ).load()
        except UserError as error:
            print(f"cannot read MNIST: {error}")
    print(f"random pixels, as there is no MNIST in {root}: name its folder with DEBIAS_DATA")
    generator = torch_generator(0, "benchmark images")

    def split(size: int) -> Split:
        images = torch.randint(0, 256, (size, 3, 28, 28), dtype=torch.uint8, generator=generator)
        target = torch.randint(0, 10, (size,), generator=generator)
        return Split(images, target, target.clone())

    return BiasedDataset("colored_mnist", split(60_000), None, split(10_000), 10, 10, "random")


def train_epoch(data: BiasedDataset, phase: Phase, epoch: int) -> None:
    """Train for an epoch of `phase` like the training loop, and read the losses at the end."""
    batches = Batches(data, phase, seed=1, with_bias=False)
    steps, sums = batches.steps_per_epoch, LossSums()
    for _, batch in zip(range(steps), batches.from_step(epoch * steps), strict=False):
        sums.add(phase.update(batch))
    sums.means(phase.name, steps)


def evaluate(data: BiasedDataset, phase: Phase) -> None:
    measure_splits(phase.logits, data)
