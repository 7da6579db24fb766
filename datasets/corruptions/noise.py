"""Noise."""

import numpy

from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.pixels import Images, as_bytes, as_unit


def gaussian_noise(images: Images, draws: Draws, deviation: float) -> Images:
    """Gaussian noise of standard deviation `deviation` on values in [0, 1]."""
    return as_bytes(as_unit(images) + deviation * draws.normal(*images.shape[1:]))


def shot_noise(images: Images, draws: Draws, photons: float) -> Images:
    """Poisson noise; a value of 1 is a count of `photons`."""
    return as_bytes(draws.poisson(as_unit(images) * photons) / photons)


def impulse_noise(images: Images, draws: Draws, amount: float) -> Images:
    """Salt and pepper: the fraction `amount` of the values becomes 0 or 255 with equal probability."""
    chance = draws.uniform(0, 1, *images.shape[1:])
    return numpy.where(chance < amount, numpy.where(chance < amount / 2, numpy.uint8(0), numpy.uint8(255)), images)


def speckle_noise(images: Images, draws: Draws, deviation: float) -> Images:
    """Gaussian noise proportional to the value."""
    return as_bytes(as_unit(images) * (1 + deviation * draws.normal(*images.shape[1:])))
