"""Pixel-wise changes of colour."""

import numpy

from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.pixels import Images, as_bytes, as_unit


def brightness(images: Images, _: Draws, amount: float) -> Images:
    """Add `amount` to the value in HSV; hue and saturation do not change."""
    rgb = as_unit(images)
    value = rgb.max(axis=1, keepdims=True)
    brighter = (value + amount).clip(max=1)
    black = value == 0
    return as_bytes(numpy.where(black, brighter, rgb * (brighter / numpy.where(black, 1, value))))


def contrast(images: Images, _: Draws, factor: float) -> Images:
    """Multiply the deviation from the channel mean by `factor`."""
    values = as_unit(images)
    mean = values.mean(axis=(2, 3), keepdims=True)
    return as_bytes((values - mean) * factor + mean)


def saturate(images: Images, _: Draws, factor: float, offset: float) -> Images:
    """Saturation in HSV times `factor` plus `offset`; hue and value do not change; the hue of grey pixels is red."""
    rgb = as_unit(images)
    value = rgb.max(axis=1, keepdims=True)
    spread = value - rgb.min(axis=1, keepdims=True)
    grey = spread == 0
    saturation = numpy.where(grey, 0, spread / numpy.where(grey, 1, value))
    # how far each channel is below the value, relative to the lowest channel
    depth = numpy.where(grey, numpy.array([0.0, 1.0, 1.0])[:, None, None], (value - rgb) / numpy.where(grey, 1, spread))
    return as_bytes(value * (1 - (saturation * factor + offset).clip(0, 1) * depth))
