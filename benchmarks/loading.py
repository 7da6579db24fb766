"""BAR at 224 x 224: time to build the pixel cache, and training images per second of the loader, without a network.

Ours, with the images in memory and read from the cache, each with 2 threads, and the usual way: a DataLoader with 2
worker processes that decodes, resizes and augments each image. All three end with a normalised batch on the
device, after a random crop with a padding of 4 and a random flip; they are measured in turns, in processor time, that
of the workers included.

Data: BAR in its original layout, in the folder that `DEBIAS_DATA` names (or data/).
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.reference import FORK
from benchmarks.side_by_side import Row, SideBySide, compare, processor_seconds, timed
from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.datasets import BiasedDataset, dataset_config
from debiaslab.datasets.bar import ACTIONS
from debiaslab.datasets.base import CIFAR10_STATISTICS
from debiaslab.methods import Phase
from debiaslab.training.batches import Batches
from debiaslab.training.device import choose_device

REPEATS = 5
BATCH_SIZE = 64
WORKERS = 2
SIZE = 224

PHASE = Phase(
    name="train",
    update=lambda batch: {},
    logits=lambda images: {},
    training=[],
    optimizers={},
    batch_size=BATCH_SIZE,
    epochs=REPEATS + 1,
    num_steps=None,
    drop_last=False,
)


def run() -> list[Row]:
    root = os.environ.get("DEBIAS_DATA", "data")
    with TemporaryDirectory() as cache:
        try:
            seconds = {part: timed(partial(published_bar, root, cache)) for part in ("built", "opened")}
        except UserError as error:
            print(f"no BAR: {error}")
            return []
        files = len(training_files(root))
        rows = [Row(name=f"cache of BAR {part}", unit="s", ours=value) for part, value in seconds.items()]
        for name, in_memory in (("images in memory", True), (f"from the cache, {WORKERS} workers", False)):
            pair = SideBySide(
                name=name,
                ours=partial(our_epochs, root, cache, in_memory),
                baseline=partial(usual_epochs, root),
                against=f"image by image, {WORKERS} workers",
                unit="ms of processors per image",
                count=files,
                goal=10,
                clock=processor_seconds,
                repeats=REPEATS,
            )
            rows.append(compare(pair))
    return rows


def published_bar(root: str, cache: str) -> BiasedDataset:
    settings = {"name": "bar", "root": root, "cache": cache, "percent": 0, "protocol": "published", "image_size": SIZE}
    return dataset_config(settings).load()


def our_epochs(root: str, cache: str, in_memory: bool) -> Callable[[], object]:
    """Return a function that iterates over the batches of the next epoch."""
    data = published_bar(root, cache).to(choose_device("auto"), memory=float("inf") if in_memory else 0)
    batches = Batches(data, PHASE, seed=1, with_bias=False, workers=WORKERS)
    steps, epochs = batches.steps_per_epoch, iter(range(REPEATS + 1))

    def epoch() -> None:
        for _ in zip(range(steps), batches.from_step(next(epochs) * steps), strict=False):
            pass

    return epoch


# ---- the usual way


class PerImage(Dataset[tuple[Tensor, int]]):
    """Image files that are decoded and augmented on each access."""

    def __init__(self, files: Sequence[Path]) -> None:
        transforms = torchvision("transforms")
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize((SIZE, SIZE)),
                transforms.RandomCrop(SIZE, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(*CIFAR10_STATISTICS),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path = self.files[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), ACTIONS.index(path.stem.rpartition("_")[0])


def training_files(root: str) -> list[Path]:
    return sorted(path for name in ("BAR", "bar") for path in (Path(root) / name / "train").glob("*.jpg"))


def usual_epochs(root: str) -> Callable[[], object]:
    """Return a function that iterates over the batches of an epoch."""
    device, images = choose_device("auto"), PerImage(training_files(root))
    loader: DataLoader[Any] = DataLoader(
        images, BATCH_SIZE, shuffle=True, num_workers=WORKERS, persistent_workers=True, multiprocessing_context=FORK
    )

    def epoch() -> None:
        for batch, target in loader:
            batch.to(device), target.to(device)

    return epoch
