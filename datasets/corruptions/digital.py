"""Elastic distortion, and artifacts of digital processing."""

from collections.abc import Callable
from io import BytesIO

import numpy
from PIL import Image

from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.pixels import Images, as_bytes, as_unit, interpolate, smooth


def elastic(images: Images, draws: Draws, shift: float, sigma: float, affine: float) -> Images:
    """A random affine map, then a smooth random displacement of every pixel.

    All lengths are fractions of the image size. The affine map moves three corners of an inner square (a third of the
    size around the centre) by up to `affine`; the displacements are uniform noise, smoothed by `sigma`, times `shift`.
    """
    size = images.shape[-1]
    reach = size // 3
    corners = size // 2 + numpy.array([[reach, reach], [reach, -reach], [-reach, -reach]], numpy.float64)  # (x, y)
    moved = corners + draws.uniform(-affine * size, affine * size, 3, 2)
    back = numpy.linalg.solve(numpy.concatenate([moved, numpy.ones((len(images), 3, 1))], axis=2), corners)
    y, x = numpy.indices((size, size)).astype(numpy.float64)
    by_x, by_y, constant = back[:, :, :, None, None].swapaxes(0, 1)  # each [N, 2, 1, 1]
    columns, rows = (by_x * x + by_y * y + constant).swapaxes(0, 1)
    values = interpolate(as_unit(images), rows, columns, border="centre")

    noise = draws.uniform(-1, 1, 2, size, size)
    down, right = (shift * size * smooth(noise, sigma * size, truncate=3, mode="reflect")).swapaxes(0, 1)
    return as_bytes(interpolate(values, y + down, x + right, border="edge"))


def pixelate(images: Images, _: Draws, scale: float) -> Images:
    """Resize to `scale` of the size and back, each time by box filtering."""
    size = images.shape[-1]
    small = int(size * scale)

    def process(image: Image.Image) -> Image.Image:
        shrunk = image.resize((small, small), Image.Resampling.BOX)
        return shrunk.resize((size, size), Image.Resampling.BOX)

    return one_by_one(process, images)


def jpeg(images: Images, _: Draws, quality: int) -> Images:
    """Encode as JPEG of the given quality and decode."""

    def process(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file, formats=["JPEG"])

    return one_by_one(process, images)


def one_by_one(process: Callable[[Image.Image], Image.Image], images: Images) -> Images:
    """Apply `process` to each image with Pillow.

    The images are cropped from one tall picture and pasted into another: converting each image from and to an array
    would take longer.
    """
    num_images, channels, size, _ = images.shape
    column = Image.fromarray(numpy.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(-1, size, channels))
    processed = Image.new("RGB", column.size)
    for top in range(0, column.height, size):
        processed.paste(process(column.crop((0, top, size, top + size))), (0, top))
    pixels = numpy.asarray(processed).reshape(num_images, size, size, channels)
    return numpy.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
