"""Noise: every value of an image changes on its own."""

import numpy

from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.pixels import Images, as_bytes, as_unit


def gaussian_noise(images: Images, draws: Draws, deviation: float) -> Images:
    """Normal noise of standard deviation `deviation`, of values in [0, 1]."""
    return as_bytes(as_unit(images) + deviation * draws.normal(*images.shape[1:]))


def shot_noise(images: Images, draws: Draws, photons: float) -> Images:
    """Poisson noise, as if a full value were a count of `photons`."""
    return as_bytes(draws.poisson(as_unit(images) * photons) / photons)


def impulse_noise(images: Images, draws: Draws, amount: float) -> Images:
    """Salt and pepper: the share `amount` of the values becomes 0 or 255, as many the one as the other."""
    chance = draws.uniform(0, 1, *images.shape[1:])
    return numpy.where(chance < amount, numpy.where(chance < amount / 2, numpy.uint8(0), numpy.uint8(255)), images)


def speckle_noise(images: Images, draws: Draws, deviation: float) -> Images:
    """Normal noise in proportion to the value."""
    return as_bytes(as_unit(images) * (1 + deviation * draws.normal(*images.shape[1:])))
