"""Building Colored MNIST and Corrupted CIFAR-10, compared with code that processes one image at a time.

Processor time on one core for each corruption; wall time on all cores for Corrupted CIFAR-10 as a whole. Corruptions
are at severity 5, which the data set uses for its `severity=4`.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy
import torch

from benchmarks.reference_corruptions import one_by_one
from benchmarks.side_by_side import REPEATS, Prepare, Row, SideBySide, compare
from debiaslab.core.randomness import numpy_generator
from debiaslab.datasets.cifar10_images import CLASSES, Pictures
from debiaslab.datasets.coloring import COLORS, NOISE_STD, Digits, build_colored_digits
from debiaslab.datasets.corrupted_cifar10 import CHUNK, TYPES, build_corrupted_images
from debiaslab.datasets.corruptions import CORRUPTIONS, corrupt

SEVERITY, DIGITS_SEVERITY = 5, 4
NUM_DIGITS, NUM_PICTURES = 5_000, 10_000


def run() -> list[Row]:
    digits_row = side_by_side("Colored MNIST", NUM_DIGITS, our_digits, digits_one_by_one)
    rows = [side_by_side(name, CHUNK, partial(ours, name), partial(theirs, name)) for name in CORRUPTIONS]
    return [digits_row, *rows, as_a_whole(rows), *(compare(of_type(name)) for name in TYPES)]


def as_a_whole(rows: Sequence[Row]) -> Row:
    """The same number of images for each corruption."""
    our, their = (sum(times) / len(rows) for times in ([row.ours for row in rows], [row.baseline or 0 for row in rows]))
    whole = replace(rows[0], name="all corruptions", least=None, most=None)
    return replace(whole, ours=our, baseline=their, ratio=their / our)


def side_by_side(name: str, count: int, our: Prepare, their: Prepare) -> Row:
    pair = SideBySide(
        name=name,
        ours=our,
        baseline=their,
        against="image by image",
        unit="us per image",
        count=count,
        repeats=REPEATS,
        clock=time.process_time,
        memory=False,
    )
    return compare(pair)


def ours(name: str) -> Callable[[], object]:
    images, _ = random_pictures(CHUNK)
    return lambda: corrupt(images, name, SEVERITY, range(CHUNK))


def theirs(name: str) -> Callable[[], object]:
    images, _ = random_pictures(CHUNK)
    rng = numpy_generator(0, "benchmark corruptions")
    return lambda: one_by_one(images, name, rng)


# ---- Corrupted CIFAR-10


def random_pictures(size: int) -> Pictures:
    generator = numpy_generator(0, "benchmark images")
    images = generator.integers(0, 256, (size, 3, 32, 32), dtype=numpy.uint8)
    return images, numpy.arange(size) % len(CLASSES)


def of_type(name: str) -> SideBySide:
    return SideBySide(
        name=f"Corrupted CIFAR-10, {name}, {os.cpu_count()} cores",
        ours=partial(our_pictures, name),
        baseline=partial(pictures_one_by_one, name),
        against="image by image",
        unit="us per image",
        count=NUM_PICTURES,
        goal=20,
    )


def our_pictures(name: str) -> Callable[[], object]:
    train, nothing = random_pictures(NUM_PICTURES), random_pictures(0)
    corruptions = TYPES[name]
    return lambda: build_corrupted_images(
        train, nothing, num_valid=0, skew=0.01, severity=SEVERITY, corruptions=corruptions, seed=0
    )


def pictures_one_by_one(name: str) -> Callable[[], object]:
    """The same number of images for each corruption."""
    images, _ = random_pictures(NUM_PICTURES)
    rng = numpy_generator(0, "benchmark corruptions")
    parts = numpy.array_split(images, len(TYPES[name]))
    return lambda: [one_by_one(part, corruption, rng) for part, corruption in zip(parts, TYPES[name], strict=True)]


# ---- Colored MNIST


def digits() -> Digits:
    generator = numpy_generator(0, "benchmark digits")
    images = generator.integers(0, 256, (NUM_DIGITS, 28, 28), dtype=numpy.uint8)
    return images, numpy.arange(NUM_DIGITS) % len(COLORS)


def our_digits() -> Callable[[], object]:
    train = digits()
    nothing = (train[0][:0], train[1][:0])
    return lambda: build_colored_digits(train, nothing, num_valid=0, skew=0.01, severity=DIGITS_SEVERITY, seed=0)


def digits_one_by_one() -> Callable[[], object]:
    """Colour each image by a few tensor operations, and draw the conflicting ones in a loop over classes."""
    images, target = (torch.from_numpy(values) for values in digits())
    colors, deviation = torch.from_numpy(COLORS), NOISE_STD[DIGITS_SEVERITY - 1]

    def build() -> object:
        bias = numpy.zeros(len(target), dtype=int)
        for label in range(len(COLORS)):
            members = numpy.where(target.numpy() == label)[0]
            numbers = numpy.arange(len(members))
            bias[members] = numpy.where(numbers < 0.99 * len(members), label, (label + numbers) % len(COLORS))
        made = []
        for image, label in zip(images, bias, strict=True):
            color = (colors[int(label)] + torch.randn(3) * deviation).clamp(0, 1).view(3, 1, 1)
            made.append((color * image.unsqueeze(0).float()).to(torch.uint8).numpy())
        return numpy.array(made)

    return build
