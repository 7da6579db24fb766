"""ResNet-18 at 224 x 224 from the pixel cache: processor time of a training step with its batch, against a plain loop
fed by a DataLoader that decodes, resizes and augments image by image. Plain cross-entropy on BAR.

What the loaders alone take is in `loading`.
"""

import os
from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.utils.data import DataLoader

from benchmarks.loading import PerImage, published_bar, training_files
from benchmarks.reference import FORK
from benchmarks.side_by_side import Row, SideBySide, compare, processor_seconds
from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.methods import Task
from debiaslab.methods.erm import ERM
from debiaslab.models import Networks, architecture
from debiaslab.training.batches import Batches
from debiaslab.training.device import choose_device

BATCH_SIZE, STEPS, REPEATS, WORKERS = 8, 2, 3, 2
CLASSES, RATE = 6, 1e-4


def run() -> list[Row]:
    root = os.environ.get("DEBIAS_DATA", "data")
    with TemporaryDirectory() as cache:
        try:
            published_bar(root, cache)
        except UserError as error:
            print(f"no BAR: {error}")
            return []
        pair = SideBySide(
            name=f"ResNet-18, 224 x 224, batch {BATCH_SIZE}: step with its batch",
            ours=partial(our_steps, root, cache),
            baseline=partial(plain_steps, root),
            against="plain loop",
            unit="s of processors per step",
            count=STEPS,
            clock=processor_seconds,
            repeats=REPEATS,
        )
        return [compare(pair)]


def our_steps(root: str, cache: str) -> Callable[[], object]:
    device = choose_device("auto")
    data = published_bar(root, cache).to(device, memory=0)
    networks = Networks(architecture("resnet18", {}), data.test.image_shape, CLASSES, seed=1)
    config = ERM.Config(batch_size=BATCH_SIZE, learning_rate=RATE)
    method = ERM(config, networks, Task(CLASSES, data.train.target.cpu(), seed=1)).to(device).train()
    (phase,) = method.phases()
    batches = Batches(data, phase, seed=1, with_bias=False, workers=WORKERS).from_step(0)
    return lambda: [phase.update(next(batches)) for _ in range(STEPS)]


def plain_steps(root: str) -> Callable[[], object]:
    device = choose_device("auto")
    images = PerImage(training_files(root))
    loader: DataLoader[Any] = DataLoader(
        images, BATCH_SIZE, shuffle=True, num_workers=WORKERS, multiprocessing_context=FORK
    )
    batches = iter(loader)
    network = torchvision("models").resnet18(weights=None, num_classes=CLASSES).to(device).train()
    optimizer = Adam(network.parameters(), lr=RATE)

    def steps() -> None:
        for _ in range(STEPS):
            image, target = next(batches)
            optimizer.zero_grad()
            loss = cross_entropy(network(image.to(device)), target.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            assert torch.isfinite(loss)  # read, as by those who log it

    return steps
