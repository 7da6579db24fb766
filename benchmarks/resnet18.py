"""LfF with ResNet-18 on 32 x 32 pixels, random crops and flips, against a plain PyTorch loop: CPU time per step.

The loop is fed by a DataLoader that changes each image on its own, in 2 worker processes, and reads what it logs. What
the layout channels_last would add is told by a step on a batch in memory, beside ours as it is.

Data: Corrupted CIFAR-10 if `DEBIAS_DATA` (or data/) has it, else random images of the same shapes.
"""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from benchmarks.lff import reference_lff
from benchmarks.reference import Items, endless, training_loader
from benchmarks.side_by_side import Row, SideBySide, compare, processor_seconds
from debiaslab.core.errors import UserError
from debiaslab.core.randomness import torch_generator
from debiaslab.core.vision import torchvision
from debiaslab.datasets import BiasedDataset, Split, dataset_config
from debiaslab.datasets.base import CIFAR10_STATISTICS
from debiaslab.datasets.corrupted_cifar10 import AUGMENT
from debiaslab.methods import Batch, Phase, Task
from debiaslab.methods.lff import LfF
from debiaslab.models import Networks, architecture
from debiaslab.training.batches import Batches
from debiaslab.training.device import choose_device

BATCH_SIZE, CLASSES, WORKERS = 128, 10, 2
STEPS, REPEATS = 1, 3  # a step takes a second or more


def run() -> list[Row]:
    common: dict[str, Any] = {"count": STEPS, "repeats": REPEATS, "clock": processor_seconds}
    common["unit"] = "s of processors per step"
    pairs = [
        SideBySide(
            name="LfF, ResNet-18 on 32 x 32: step with its batch",
            ours=our_steps,
            baseline=plain_steps,
            against="plain loop",
            goal=1.3,
            **common,
        ),
        SideBySide(
            name="channels_last: step on a batch in memory",
            ours=partial(steps_in_memory, torch.channels_last),
            baseline=partial(steps_in_memory, torch.contiguous_format),
            against="ours as it is",
            memory=False,
            **common,
        ),
    ]
    return [compare(pair) for pair in pairs]


@lru_cache(maxsize=1)
def data() -> BiasedDataset:
    """Corrupted CIFAR-10 by the published protocol, on the CPU."""
    settings = {"name": "corrupted_cifar10", "root": os.environ.get("DEBIAS_DATA", "data"), "protocol": "published"}
    try:
        return dataset_config(settings).load()
    except UserError as error:
        print(f"random pixels instead of Corrupted CIFAR-10: {error}")
    generator = torch_generator(0, "benchmark images")

    def split(size: int) -> Split:
        images = torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator)
        target = torch.randint(0, CLASSES, (size,), generator=generator)
        return Split(images, target, target.clone())

    splits = (split(50_000), None, split(10_000))
    return BiasedDataset("random", *splits, CLASSES, CLASSES, "random", normalize=CIFAR10_STATISTICS, augment=AUGMENT)


# ---- ours


def our_steps() -> Callable[[], object]:
    placed, phase = data().to(choose_device("auto")), our_phase()
    batches = Batches(placed, phase, seed=1, with_bias=False, workers=WORKERS).from_step(0)

    def steps() -> None:
        for _ in range(STEPS):
            phase.update(next(batches))

    return steps


def our_phase(layout: torch.memory_format = torch.contiguous_format) -> Phase:
    networks = Networks(architecture("resnet18", {}), (3, 32, 32), CLASSES, seed=1)
    config = LfF.Config(epochs=100, batch_size=BATCH_SIZE)
    method = LfF(config, networks, Task(CLASSES, data().train.target, seed=1))
    placed: LfF = method.to(choose_device("auto")).to(memory_format=layout)  # type: ignore[call-overload]
    (phase,) = placed.train().phases()
    return phase


def steps_in_memory(layout: torch.memory_format) -> Callable[[], object]:
    phase, batch = our_phase(layout), batch_in_memory(layout)
    return lambda: [phase.update(batch) for _ in range(STEPS)]


def batch_in_memory(layout: torch.memory_format = torch.contiguous_format) -> Batch:
    placed = data().to(choose_device("auto"))
    image = torch.randn(BATCH_SIZE, 3, 32, 32, generator=torch_generator(0, "benchmark batch"))
    index = torch.arange(BATCH_SIZE, device=placed.train.target.device)
    return Batch(image.to(index.device, memory_format=layout), placed.train.target[index], index, step=0)


# ---- a plain loop


def plain_steps() -> Callable[[], object]:
    transforms, models = torchvision("transforms"), torchvision("models")
    changes = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=AUGMENT.padding),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(*CIFAR10_STATISTICS),
        ]
    )
    train = data().train
    batches: Iterator[Items] = endless(training_loader(train, BATCH_SIZE, changes))

    def network() -> nn.Module:
        resnet: nn.Module = models.resnet18(weights=None, num_classes=CLASSES)
        return resnet

    step = reference_lff(train.target, network)

    def steps() -> None:
        for _ in range(STEPS):
            index, image, target, _ = next(batches)
            step(index, image, target)

    return steps
