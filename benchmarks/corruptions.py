"""Corrupted CIFAR-10: seconds and peak memory to build the full set, and seconds for each corruption.

Data: real CIFAR-10 if `DEBIAS_DATA` (or data/) has it, else random pixels. Each set is built in a process of its own,
on all cores, into a folder that is removed afterwards.
"""

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy
from numpy.typing import NDArray

from benchmarks.side_by_side import Row, resident_peak
from debiaslab.core.randomness import numpy_generator
from debiaslab.datasets import dataset_config
from debiaslab.datasets.cifar10 import CHECKSUMS, FOLDER, IMAGE_FOLDER
from debiaslab.datasets.cifar10_images import CLASSES, Pictures
from debiaslab.datasets.corrupted_cifar10 import CHUNK, TYPES, build_corrupted_images
from debiaslab.datasets.corruptions import CORRUPTIONS, NUM_SEVERITIES, corrupt

NUM_IMAGES = 1_000  # for each corruption


def run() -> list[Row]:
    root = os.environ.get("DEBIAS_DATA", "data")
    real = (Path(root) / FOLDER / next(iter(CHECKSUMS))).is_file() or (Path(root) / IMAGE_FOLDER).is_dir()
    print("CIFAR-10" if real else "random pixels instead of CIFAR-10")
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for name in TYPES:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                seconds, memory = pool.submit(build, name, root if real else None, cache).result()
            rows.append(Row(name=f"{name}, 60,000 images built, all cores", unit="s", ours=seconds, memory=memory))
    images, _ = random_pictures(CHUNK)
    for name in CORRUPTIONS:
        for severity in range(1, NUM_SEVERITIES + 1):
            seconds = seconds_of(name, severity, images)
            what = f"{name}, severity {severity}, {NUM_IMAGES:,} images on one core"
            rows.append(Row(name=what, unit="s of a processor", ours=seconds))
    return rows


def build(name: str, root: str | None, cache: str) -> tuple[float, float]:
    """Seconds to build the set of `name`'s corruptions, including what must be decoded, and peak memory in GiB."""
    start = time.perf_counter()
    if root is None:
        train, test = random_pictures(50_000), random_pictures(10_000)
        build_corrupted_images(train, test, num_valid=5_000, skew=0.01, severity=5, corruptions=TYPES[name], seed=0)
    else:
        dataset_config({"name": "corrupted_cifar10", "root": root, "cache": cache, "corruptions": name}).load()
    return time.perf_counter() - start, resident_peak()


def seconds_of(name: str, severity: int, images: NDArray[numpy.uint8]) -> float:
    """Processor seconds for `NUM_IMAGES` images, after a first few to warm up."""
    corrupt(images[:10], name, severity, range(10))
    start = time.process_time()
    for first in range(0, NUM_IMAGES, len(images)):
        corrupt(images, name, severity, range(first, first + len(images)))
    return time.process_time() - start


def random_pictures(size: int) -> Pictures:
    generator = numpy_generator(0, "benchmark images")
    images = generator.integers(0, 256, (size, 3, 32, 32), dtype=numpy.uint8)
    return images, numpy.arange(size) % len(CLASSES)
