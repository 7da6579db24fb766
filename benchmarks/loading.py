"""Decode-cache build time, and training images per second at 224 x 224, of BAR: the loader alone, without a network.

Ours with the images in the device's memory, ours read from the cache by 2 workers, and the usual way: a DataLoader with
2 worker processes that decodes, resizes and changes each image on its own. All three end as a normalised batch on the
device, after a random crop with a padding of 4 and a random flip; they are measured in turns.

Data: BAR in its original layout, in the folder that `DEBIAS_DATA` names (or data/).
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.errors import UserError
from core.vision import torchvision
from datasets import BiasedDataset, dataset_config
from datasets.bar import ACTIONS
from datasets.base import CIFAR10_STATISTICS
from methods import Phase
from training.batches import Batches
from training.device import choose_device

REPEATS = 3
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


def run() -> dict[str, float]:
    """Seconds to build and to open the cache, and median images per second of `REPEATS` epochs after a first one."""
    device, root = choose_device("auto"), os.environ.get("DEBIAS_DATA", "data")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name}; {os.cpu_count()} cores, {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f}")
    results: dict[str, float] = {}
    with TemporaryDirectory() as cache:
        try:
            for part in ("build", "open"):
                start = time.perf_counter()
                data = published_bar(root, cache)
                results[f"cache/{part} (s)"] = time.perf_counter() - start
        except UserError as error:
            print(f"no BAR: {error}")
            return {}
        files = sum(len(split) for split in data.splits().values())
        megabytes = sum(file.stat().st_size for file in Path(cache).iterdir()) / 2**20
        print(f"{files} images, cache of {megabytes:.0f} MiB; epochs of {len(data.train)} images")
        results |= images_per_second(data, root, device)
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    for measured, value in results.items():
        print(f"{measured:32} {value:10.2f}")
    return results


def published_bar(root: str, cache: str) -> BiasedDataset:
    settings = {"name": "bar", "root": root, "cache": cache, "percent": 0, "protocol": "published", "image_size": SIZE}
    return dataset_config(settings).load()


def images_per_second(data: BiasedDataset, root: str, device: torch.device) -> dict[str, float]:
    images = PerImage(training_files(root))
    reference = DataLoader(images, BATCH_SIZE, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    in_memory, on_file = data.to(device), data.to(device, memory=0)
    epochs: dict[str, Callable[[int], int]] = {
        "in memory": lambda epoch: ours(in_memory, epoch, workers=0),
        f"from the cache, {WORKERS} workers": lambda epoch: ours(on_file, epoch, WORKERS),
        f"image by image, {WORKERS} workers": lambda epoch: usual(reference, device),
    }
    rates: dict[str, list[float]] = {name: [] for name in epochs}
    for epoch in range(REPEATS + 1):
        for name, work in epochs.items():
            start = time.perf_counter()
            num_images = work(epoch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            rates[name].append(num_images / (time.perf_counter() - start))
    return {f"{name} (images/s)": statistics.median(values[1:]) for name, values in rates.items()}


def ours(data: BiasedDataset, epoch: int, workers: int) -> int:
    """The number of images in the batches of an epoch."""
    batches, images = Batches(data, PHASE, seed=1, with_bias=False, workers=workers), 0
    steps = batches.steps_per_epoch
    for _, batch in zip(range(steps), batches.from_step(epoch * steps), strict=False):
        images += len(batch.image)
    return images


# ---- the usual way


class PerImage(Dataset[tuple[Tensor, int]]):
    """Image files, each decoded and changed whenever it is asked for."""

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


def usual(loader: DataLoader[Any], device: torch.device) -> int:
    """The number of images in the batches of an epoch."""
    images = 0
    for batch, target in loader:
        batch, target = batch.to(device), target.to(device)
        images += len(batch)
    return images
