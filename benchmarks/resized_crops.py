"""Random resized crops with flips, of a batch at once against torchvision's one by one: milliseconds per image.

On one CPU thread, 128 photos of 500 x 334 pixels to 224 x 224; and the batch on a GPU, where there is one. Those of
torchvision are images in memory, and JPEG files, which a loader without a cache decodes in every epoch.
"""

import statistics
import time
from collections.abc import Callable
from io import BytesIO

import numpy
import torch
from PIL import Image

from core.randomness import torch_generator
from core.vision import torchvision
from datasets.augmentation import RandomResizedCropAndFlip
from datasets.pixels import Stretched
from training.device import choose_device

BATCH_SIZE, SIZE, STORED = 128, 224, 256
WIDTH, HEIGHT = 500, 334
REPEATS = 7


def run() -> dict[str, float]:
    """Median milliseconds per image of `REPEATS` batches after one to warm up, by where and how."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo).resize((WIDTH, HEIGHT)) for photo in load_sample_images().images]
    photos = [photos[number % len(photos)] for number in range(BATCH_SIZE)]
    files = [jpeg(photo) for photo in photos]
    stored = torch.from_numpy(numpy.stack([numpy.asarray(Stretched(STORED)(photo)) for photo in photos]))
    images = stored.permute(0, 3, 1, 2).contiguous()
    change = RandomResizedCropAndFlip(SIZE, torch.tensor([[HEIGHT, WIDTH]] * BATCH_SIZE))
    draws = torch.rand(BATCH_SIZE, change.num_draws, generator=torch_generator(0, "benchmark crops"))
    index = torch.arange(BATCH_SIZE)
    transforms = torchvision("transforms")
    one_by_one = transforms.Compose(
        [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    milliseconds = {
        "CPU, batch": measured(lambda: change(images, index, draws), time.process_time),
        "CPU, torchvision": measured(lambda: [one_by_one(photo) for photo in photos], time.process_time),
        "CPU, torchvision, JPEG files": measured(
            lambda: [one_by_one(Image.open(file)) for file in files], time.process_time
        ),
    }
    torch.set_num_threads(threads)
    device = choose_device("auto")
    if device.type == "cuda":
        moved, images, index, draws = change.to(device), images.to(device), index.to(device), draws.to(device)

        def on_gpu() -> None:
            moved(images, index, draws)
            torch.cuda.synchronize()

        milliseconds[f"{torch.cuda.get_device_name(device)}, batch"] = measured(on_gpu, time.perf_counter)
    for name, value in milliseconds.items():
        print(f"{name:40} {value:8.4f} ms per image")
    return milliseconds


def jpeg(photo: Image.Image) -> BytesIO:
    file = BytesIO()
    photo.save(file, "jpeg", quality=95)
    return file


def measured(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Median milliseconds per image of a batch; the processor's own time, on the CPU, leaves other processes out."""
    seconds = []
    for _ in range(REPEATS + 1):
        start = clock()
        work()
        seconds.append(clock() - start)
    return 1000 * statistics.median(seconds[1:]) / BATCH_SIZE
