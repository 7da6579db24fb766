"""Conversion, smoothing and resampling of pixels. Images are square: [N, channels, S, S].

All corruptions `import scipy` only: it loads `scipy.ndimage`, which takes a third of a second, on first use.
"""

from typing import Any, Literal

import numpy
import scipy
from numpy.typing import NDArray

Images = NDArray[numpy.uint8]
Values = NDArray[numpy.float64]
Places = NDArray[numpy.int64]

# beyond its border, the image is mirrored at the centre or at the outer edge of its last pixels
Border = Literal["centre", "edge"]


def as_unit(images: Images) -> Values:
    """Convert 0..255 to [0, 1]."""
    return images / 255.0


def as_bytes(values: NDArray[Any]) -> Images:
    """Convert [0, 1] to 0..255: clip, then truncate to integers (as in the protocol)."""
    return (values.clip(0, 1) * 255).astype(numpy.uint8)


def smooth(values: Values, sigma: float, truncate: float = 4.0, mode: str = "nearest") -> Values:
    """Smooth each image of `values` [..., S, S] by a Gaussian of `sigma` pixels, truncated at `truncate` sigma.

    `mode` is scipy's border mode.
    """
    spread = (0.0,) * (values.ndim - 2) + (sigma, sigma)
    result: Values = scipy.ndimage.gaussian_filter(values, spread, mode=mode, truncate=truncate)
    return result


def pick(images: NDArray[Any], rows: Places, columns: Places) -> NDArray[Any]:
    """The pixels of `images` [N, C, S, S] at `rows` and `columns`, which are broadcast to [N, S, S]."""
    num_images, channels, size, _ = images.shape
    places = numpy.broadcast_to(rows * size + columns, (num_images, size, size)).reshape(num_images, -1)
    flat = images.reshape(num_images, channels, -1)
    picked = numpy.empty_like(flat)
    for image, place, result in zip(flat, places, picked, strict=True):  # faster than fancy indices
        image.take(place, axis=1, out=result, mode="clip")  # "raise" would copy; all places are inside
    return picked.reshape(images.shape)


def interpolate(values: Values, rows: Values, columns: Values, border: Border) -> Values:
    """`values` [N, C, S, S] at fractional `rows` and `columns` [N, S, S], by bilinear interpolation."""
    size = values.shape[-1]
    top, left = numpy.floor(rows).astype(numpy.int64), numpy.floor(columns).astype(numpy.int64)
    lower, right = (rows - top)[:, None], (columns - left)[:, None]  # weights of the pixels below and to the right

    first, second = mirror(left, size, border), mirror(left + 1, size, border)

    def along(row: Places) -> Values:
        return pick(values, row, first) * (1 - right) + pick(values, row, second) * right

    return along(mirror(top, size, border)) * (1 - lower) + along(mirror(top + 1, size, border)) * lower


def mirror(places: Places, size: int, border: Border) -> Places:
    """Mirror `places` outside of 0..size-1 into that range, repeatedly if necessary."""
    period, turn = (2 * size - 2, 2 * size - 2) if border == "centre" else (2 * size, 2 * size - 1)
    places = places % period
    return numpy.where(places < size, places, turn - places)


def magnify(values: Values, factor: float) -> Values:
    """Magnify the centre of `values` [..., S, S] by `factor` to the same size, by bilinear interpolation."""
    rows = magnifier(values.shape[-1], factor)
    result: Values = rows @ values @ rows.T
    return result


def magnifier(size: int, factor: float) -> Values:
    """The linear map [size, size] from a row of pixels to its magnified centre."""
    kept = int(numpy.ceil(size / factor))
    weights = scipy.ndimage.zoom(numpy.eye(kept), (factor, 1), order=1)
    start, start_out = (size - kept) // 2, (len(weights) - size) // 2
    rows = numpy.zeros((size, size))
    rows[:, start : start + kept] = weights[start_out : start_out + size]
    return rows
