"""Edges in grey images and the distance from them: exactly as in OpenCV, but vectorised over images."""

from itertools import product
from typing import Any

import numpy
import scipy
from numpy.typing import NDArray

Grey = NDArray[numpy.uint8]  # [N, S, S]
Mask = NDArray[numpy.bool_]  # [N, S, S]

SOBEL = numpy.array([[[-1, -2, -1], [0, 0, 0], [1, 2, 1]]])
TAN_22, TAN_67 = 13573, 13573 + (2 << 15)  # tangents of 22.5 and 67.5 degrees, times 2^15
TOUCHING = numpy.array([[[False]], [[True]], [[False]]]) & numpy.ones((3, 3), dtype=bool)  # the eight in the same image

# steps to nearby pixels (rows, columns) and their lengths; a distance is a sum of such steps
LENGTHS = {(0, 1): 1.0, (1, 0): 1.0, (1, 1): 1.4, (1, 2): 2.1969, (2, 1): 2.1969}
STEPS = {
    (rows, columns): numpy.float32(LENGTHS[abs(rows), abs(columns)])
    for rows, columns in product(range(-2, 3), repeat=2)
    if (abs(rows), abs(columns)) in LENGTHS
}


def canny(images: Grey, weak: int, strong: int) -> Mask:
    """Canny edges: gradient ridges above `weak` that are connected to a point above `strong`."""
    grey = images.astype(numpy.int64)
    down, right = (scipy.ndimage.correlate(grey, kernel, mode="nearest") for kernel in (SOBEL, SOBEL.swapaxes(1, 2)))
    gradient = abs(down) + abs(right)
    padded = numpy.pad(gradient, ((0, 0), (1, 1), (1, 1)))

    def ridge(rows: int, columns: int, either: bool = False) -> Mask:
        """Where the gradient is above that of both neighbours; with `either`, it may equal that of the second."""
        before, after = neighbours(padded, 1, -rows, -columns), neighbours(padded, 1, rows, columns)
        result: Mask = (gradient > before) & ((gradient >= after) if either else (gradient > after))
        return result

    steepness, level = abs(down) << 15, abs(right)
    edges = numpy.where((down ^ right) < 0, ridge(1, -1), ridge(1, 1))
    edges = numpy.where(steepness > level * TAN_67, ridge(1, 0, either=True), edges)
    edges = numpy.where(steepness < level * TAN_22, ridge(0, 1, either=True), edges)
    edges &= gradient > weak
    labels, count = scipy.ndimage.label(edges, TOUCHING)
    kept = numpy.zeros(count + 1, dtype=bool)
    kept[labels[edges & (gradient > strong)]] = True
    connected: Mask = kept[labels]
    return connected


def distance(edges: Mask, farthest: float) -> NDArray[numpy.float32]:
    """The distance of each pixel from the nearest edge, at most `farthest`, [N, S, S]."""
    padded = numpy.full((len(edges), edges.shape[1] + 4, edges.shape[2] + 4), farthest, dtype=numpy.float32)
    nearest = neighbours(padded, 2, 0, 0)
    nearest[edges] = 0
    changed = True
    while changed:
        before = nearest.copy()
        for (rows, columns), length in STEPS.items():
            numpy.minimum(nearest, neighbours(padded, 2, rows, columns) + length, out=nearest)
        changed = bool((nearest != before).any())
    return nearest


def neighbours(padded: NDArray[Any], margin: int, rows: int, columns: int) -> NDArray[Any]:
    """The pixels `rows` below and `columns` to the right; `padded` [N, ., .] has a `margin` on each side."""
    height, width = (side - 2 * margin for side in padded.shape[1:])
    return padded[:, margin + rows : margin + rows + height, margin + columns : margin + columns + width]
