"""Image files of scikit-learn's digits, in whatever layout a test needs."""

from collections.abc import Iterable
from pathlib import Path

import numpy
from PIL import Image

from debiaslab.datasets.digits import read_digits

COLORS = numpy.array([[255, 64, 0], [0, 255, 64], [64, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]])


def write_images(paths: Iterable[Path], start: int = 0) -> None:
    """A digit of 28 x 28 pixels, from number `start` on and in a colour, as each of the files."""
    images, _ = read_digits()
    for number, path in enumerate(paths, start=start):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = images[number % len(images)][:, :, None] * (COLORS[number % len(COLORS)] / 255)
        Image.fromarray(pixels.astype(numpy.uint8)).save(path)
