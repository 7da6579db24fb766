"""Corrupted CIFAR-10: seconds and peak memory to build the full set, and seconds for each corruption.

Data: real CIFAR-10 if `DEBIAS_DATA` (or data/) has it, else random pixels. Each set is built in a process of its own,
on all cores, into a folder that is removed afterwards.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy
from numpy.typing import NDArray

from core.randomness import numpy_generator
from datasets import dataset_config
from datasets.cifar10 import CHECKSUMS, FOLDER, IMAGE_FOLDER
from datasets.cifar10_images import CLASSES, Pictures
from datasets.corrupted_cifar10 import CHUNK, TYPES, build_corrupted_images
from datasets.corruptions import CORRUPTIONS, NUM_SEVERITIES, corrupt

NUM_IMAGES = 1_000  # for each corruption


def run() -> dict[str, float]:
    """`build/<type>/seconds`, `build/<type>/GiB`, and `<corruption>/<severity>`: seconds for 1,000 images."""
    root = os.environ.get("DEBIAS_DATA", "data")
    real = (Path(root) / FOLDER / next(iter(CHECKSUMS))).is_file() or (Path(root) / IMAGE_FOLDER).is_dir()
    source = "CIFAR-10" if real else "random pixels"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; numpy {numpy.__version__}; {source}")
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in TYPES:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                seconds, memory = pool.submit(build, name, root if real else None, cache).result()
            results |= {f"build/{name}/seconds": seconds, f"build/{name}/GiB": memory}
            print(f"{name}, 60,000 images: {seconds:6.1f} s, at most {memory:.2f} GiB of memory")
    images, _ = random_pictures(CHUNK)
    print(f"seconds for {NUM_IMAGES} images on one core, at severity 1 to {NUM_SEVERITIES}")
    for name in CORRUPTIONS:
        seconds_by_severity = [seconds_of(name, severity, images) for severity in range(1, NUM_SEVERITIES + 1)]
        results |= {f"{name}/{severity}": value for severity, value in enumerate(seconds_by_severity, start=1)}
        print(f"{name:16}", *(f"{value:6.3f}" for value in seconds_by_severity))
    return results


def build(name: str, root: str | None, cache: str) -> tuple[float, float]:
    """Seconds to build the set of `name`'s corruptions, including what must be decoded, and peak memory in GiB."""
    start = time.perf_counter()
    if root is None:
        train, test = random_pictures(50_000), random_pictures(10_000)
        build_corrupted_images(train, test, num_valid=5_000, skew=0.01, severity=5, corruptions=TYPES[name], seed=0)
    else:
        dataset_config({"name": "corrupted_cifar10", "root": root, "cache": cache, "corruptions": name}).load()
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


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
