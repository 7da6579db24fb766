"""Blurs."""

import numpy
import scipy
from numpy.typing import NDArray

from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.pixels import Images, Values, as_bytes, as_unit, magnify, pick, smooth


def gaussian_blur(images: Images, _: Draws, sigma: float) -> Images:
    """A Gaussian blur of `sigma` pixels."""
    return as_bytes(smooth(as_unit(images), sigma))


def defocus_blur(images: Images, _: Draws, radius: float, sigma: float) -> Images:
    """The mean over a disk of `radius` pixels whose edge is smoothed by `sigma` pixels."""
    return as_bytes(scipy.ndimage.convolve(as_unit(images), smoothed_disk(radius, sigma)[None, None], mode="mirror"))


def smoothed_disk(radius: float, sigma: float) -> NDArray[numpy.float32]:
    """The weights of a disk smoothed by a 3x3 Gaussian: [side, side], sum 1 up to rounding."""
    reach = int(radius) + 1
    squares = numpy.arange(-reach, reach + 1) ** 2
    disk = (squares[:, None] + squares <= radius**2).astype(numpy.float64)
    side = numpy.exp(-0.5 / sigma**2)
    line = numpy.array([side, 1, side]) / (1 + 2 * side)
    kernel: Values = scipy.ndimage.convolve(disk / disk.sum(), line[:, None] * line, mode="constant")
    return kernel.astype(numpy.float32)  # the protocol's precision, which affects truncation to integers


def glass_blur(images: Images, draws: Draws, sigma: float, rounds: int) -> Images:
    """A Gaussian blur of `sigma` pixels before and after replacing each pixel by a nearby one, `rounds` times.

    That is the pixel itself or its neighbour above, to the left, or both. The authors' code intends to swap the two,
    but copies; as in their code, the two rows and columns at the upper and left border stay in place.
    """
    size = images.shape[-1]
    places = numpy.arange(size)
    moves = (places >= 2)[:, None] & (places >= 2)
    images = as_bytes(smooth(as_unit(images), sigma))
    for _ in range(rounds):
        up, left = numpy.moveaxis(draws.integers(0, 2, size, size, 2), -1, 0) * moves
        images = pick(images, places[:, None] - up, places - left)
    return as_bytes(smooth(as_unit(images), sigma))


def motion_blur(images: Images, draws: Draws, radius: int, sigma: float) -> Images:
    """Motion in one direction per image, within 45 degrees of the horizontal; see `smear`."""
    return smear(images, draws.uniform(-45, 45), radius, sigma)


def smear(images: Images, degrees: Values, radius: int, sigma: float) -> Images:
    """The weighted mean along a line that starts at each pixel, [N, C, S, S]; border pixels are replicated.

    The line has 2 `radius` + 1 points, one pixel apart and rounded to whole pixels, in the direction `degrees` [N] (0:
    to the right, 90: down). The weights are one half of a Gaussian of `sigma` pixels.
    """
    size = images.shape[-1]
    places, angle = numpy.arange(size), numpy.radians(degrees)[:, None]
    steps = numpy.arange(2 * radius + 1)
    weights = numpy.exp(-(steps**2) / (2 * sigma**2))
    total = numpy.zeros(images.shape)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        rows, columns = (
            (places + numpy.ceil(step * part - 0.5).astype(numpy.int64)).clip(0, size - 1)
            for part in (numpy.sin(angle), numpy.cos(angle))
        )
        total += weight * pick(images, rows[:, :, None], columns[:, None, :])
    return total.astype(numpy.uint8)


def zoom_blur(images: Images, _: Draws, end: float) -> Images:
    """The mean of the image and its magnifications by 1, 1.01, ... up to about `end`."""
    values = as_unit(images)
    factors = numpy.arange(1, end, 0.01)
    total = values.copy()
    for factor in factors:
        total += magnify(values, factor)
    return as_bytes(total / (len(factors) + 1))
