"""Spatter: drops of water or mud on the lens."""

import numpy
import scipy
from numpy.typing import NDArray

from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.edges import Grey, canny, distance
from debiaslab.datasets.corruptions.pixels import Images, as_bytes, as_unit, smooth

WATER = numpy.array([175, 238, 238])[:, None, None] / 255  # RGB
MUD = numpy.array([63, 42, 20])[:, None, None] / 255
THIN = 0.8  # mud opacity below this becomes 0

WEAK_EDGE, STRONG_EDGE = 50, 150  # Canny thresholds for drops of water
FARTHEST = 20  # pixels; maximum distance from the edge of a drop in the relief
RELIEF = numpy.array([[[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]])  # lit from one corner


def spatter(
    images: Images,
    draws: Draws,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: bool,
) -> Images:
    """Drops where normal noise, smoothed by `sigma` pixels, is above `threshold`.

    Drops of water are shaded like a relief, with `strength` as their maximum opacity; drops of mud have soft edges of
    about `strength` pixels.
    """
    size = images.shape[-1]
    values = as_unit(images)
    liquid = smooth(mean + deviation * draws.normal(size, size), sigma)
    if mud:
        cover = smooth((liquid > threshold).astype(numpy.float64), strength)[:, None]
        cover[cover < THIN] = 0
        return as_bytes(values * (1 - cover) + cover * MUD)
    drops = as_bytes(numpy.where(liquid < threshold, 0, liquid))
    light = drops * relief(drops)
    brightest = light.max(axis=(1, 2), keepdims=True)
    share = strength * light / numpy.where(brightest > 0, brightest, 1)
    return as_bytes(values + share[:, None] * WATER)


def relief(drops: Grey) -> NDArray[numpy.float64]:
    """The shading of each pixel of the drops, 0 to 255: a relief whose height is the distance from edges."""
    height = mean_of_nine(distance(canny(drops, WEAK_EDGE, STRONG_EDGE), FARTHEST)).astype(numpy.uint8)
    lit = scipy.ndimage.correlate(equalize(height).astype(numpy.int64), RELIEF, mode="mirror")
    light: NDArray[numpy.float64] = numpy.rint(mean_of_nine(lit.clip(0, 255)))
    return light


def mean_of_nine(values: NDArray[numpy.generic]) -> NDArray[numpy.float64]:
    """The mean of each pixel and the eight around it, [N, S, S]."""
    total = scipy.ndimage.correlate(values.astype(numpy.float64), numpy.ones((1, 3, 3)), mode="mirror")
    mean: NDArray[numpy.float64] = (total / 9).astype(numpy.float32).astype(numpy.float64)  # keeps integers exact
    return mean


def equalize(images: Grey) -> Grey:
    """Histogram equalisation of each image."""
    num_images, pixels = len(images), images[0].size
    entry = images + 256 * numpy.arange(num_images)[:, None, None]  # index into one histogram for all images
    histogram = numpy.bincount(entry.ravel(), minlength=256 * num_images).reshape(num_images, 256)
    lowest = (histogram > 0).argmax(axis=1)[:, None]
    others = pixels - numpy.take_along_axis(histogram, lowest, axis=1)  # pixels above the lowest value
    rank = histogram.cumsum(axis=1) - (pixels - others)
    spread = numpy.rint(rank.astype(numpy.float32) * (numpy.float32(255) / others.clip(min=1).astype(numpy.float32)))
    table = numpy.where(others > 0, spread, lowest).astype(numpy.uint8)
    equal: Grey = table.ravel()[entry]
    return equal
