"""Random resized crops with flips, of a batch at once against torchvision's one by one: milliseconds per image.

On one CPU thread, 128 photos of 500 x 334 pixels to 224 x 224; and the batch on a GPU, where there is one. Those of
torchvision are images in memory, and JPEG files, which a loader without a cache decodes in every epoch.
"""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from io import BytesIO

import numpy
import torch
from PIL import Image

from benchmarks.side_by_side import Row, SideBySide, compare, median_seconds
from debiaslab.core.randomness import torch_generator
from debiaslab.core.vision import torchvision
from debiaslab.datasets.augmentation import RandomResizedCropAndFlip
from debiaslab.datasets.pixels import Stretched
from debiaslab.training.device import choose_device

BATCH_SIZE, SIZE, STORED = 128, 224, 256
WIDTH, HEIGHT = 500, 334


def run() -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [
        compare(
            SideBySide(
                name=f"from {kind}, one CPU thread",
                ours=partial(batch_at_once, "cpu"),
                baseline=partial(one_by_one, files=kind == "JPEG files"),
                against="torchvision",
                unit="ms per image",
                count=BATCH_SIZE,
                clock=time.process_time,
            )
        )
        for kind in ("images in memory", "JPEG files")
    ]
    torch.set_num_threads(threads)
    if choose_device("auto").type == "cuda":
        milliseconds = 1000 * median_seconds(batch_at_once("cuda")) / BATCH_SIZE
        rows.append(Row(name="on the GPU", unit="ms per image", ours=milliseconds))
    return rows


def batch_at_once(device: str) -> Callable[[], object]:
    """Ours: a batch of images as stored in a decode cache."""
    stored = torch.from_numpy(numpy.stack([numpy.asarray(Stretched(STORED)(photo)) for photo in photos()]))
    images = stored.permute(0, 3, 1, 2).contiguous().to(device)
    change = RandomResizedCropAndFlip(SIZE, torch.tensor([[HEIGHT, WIDTH]] * BATCH_SIZE)).to(torch.device(device))
    draws = torch.rand(BATCH_SIZE, change.num_draws, generator=torch_generator(0, "benchmark crops")).to(device)
    index = torch.arange(BATCH_SIZE, device=device)
    return lambda: change(images, index, draws)


def one_by_one(files: bool) -> Callable[[], object]:
    """torchvision's, of images in memory or of JPEG files."""
    transforms = torchvision("transforms")
    change = transforms.Compose(
        [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    if not files:
        return lambda: [change(photo) for photo in photos()]
    encoded = [jpeg(photo) for photo in photos()]
    return lambda: [change(Image.open(file)) for file in encoded]


@lru_cache(maxsize=1)
def photos() -> list[Image.Image]:
    from sklearn.datasets import load_sample_images

    samples = [Image.fromarray(photo).resize((WIDTH, HEIGHT)) for photo in load_sample_images().images]
    return [samples[number % len(samples)] for number in range(BATCH_SIZE)]


def jpeg(photo: Image.Image) -> BytesIO:
    file = BytesIO()
    photo.save(file, "jpeg", quality=95)
    return file
