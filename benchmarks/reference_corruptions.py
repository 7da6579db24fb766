"""Corruptions in the reference style, our own code: one image at a time, float64 [32, 32, 3] in [0, 1], severity 5.

Loops over pixels where the papers' code has them; what an image needs (kernels, textures) is made or read for it.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy
import scipy
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from debiaslab.datasets.corruptions.weather import TEXTURES, textures_folder

Image3 = NDArray[Any]  # [32, 32, 3]
SIZE = 32


def gaussian_noise(image: Image3, rng: Generator) -> Image3:
    return image + rng.normal(size=image.shape, scale=0.10)


def shot_noise(image: Image3, rng: Generator) -> Image3:
    return rng.poisson(image * 50) / 50


def impulse_noise(image: Image3, rng: Generator) -> Image3:
    image = image.copy()
    hit, salt = rng.random(image.shape) < 0.07, rng.random(image.shape) < 0.5
    image[hit & salt], image[hit & ~salt] = 1, 0
    return image


def speckle_noise(image: Image3, rng: Generator) -> Image3:
    return image + image * rng.normal(size=image.shape, scale=0.2)


def gaussian_blur(image: Image3, rng: Generator) -> Image3:
    return numpy.asarray(scipy.ndimage.gaussian_filter(image, (1, 1, 0), mode="nearest"))


def defocus_blur(image: Image3, rng: Generator) -> Image3:
    reach = numpy.arange(-2, 3)
    x, y = numpy.meshgrid(reach, reach)
    disk = (x**2 + y**2 <= 1.5**2).astype(float)
    kernel = scipy.ndimage.gaussian_filter(disk / disk.sum(), 0.1)
    return numpy.stack([scipy.ndimage.convolve(image[:, :, channel], kernel, mode="mirror") for channel in range(3)], 2)


def glass_blur(image: Image3, rng: Generator) -> Image3:
    image = (scipy.ndimage.gaussian_filter(image, (0.4, 0.4, 0), mode="nearest") * 255).astype(numpy.uint8)
    for _ in range(2):
        for row in range(SIZE - 1, 1, -1):
            for column in range(SIZE - 1, 1, -1):
                down, right = rng.integers(-1, 1, size=2)
                image[row, column] = image[row + down, column + right]
    return numpy.asarray(scipy.ndimage.gaussian_filter(image / 255, (0.4, 0.4, 0), mode="nearest"))


def smeared(image: Image3, degrees: float, radius: int, sigma: float) -> Image3:
    """Compress as JPEG through a file in memory."""
    file = BytesIO()
    Image.fromarray(numpy.uint8(image.clip(0, 1) * 255)).save(file, "PNG")
    pixels = numpy.asarray(Image.open(BytesIO(file.getvalue())).convert("RGB")) / 255
    weights = numpy.exp(-(numpy.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    total, angle = numpy.zeros_like(pixels), numpy.deg2rad(degrees)
    for step, weight in enumerate(weights / weights.sum()):
        down, right = round(step * numpy.sin(angle)), round(step * numpy.cos(angle))
        rows = numpy.clip(numpy.arange(SIZE) + down, 0, SIZE - 1)
        columns = numpy.clip(numpy.arange(SIZE) + right, 0, SIZE - 1)
        total += weight * pixels[rows][:, columns]
    return total


def motion_blur(image: Image3, rng: Generator) -> Image3:
    return smeared(image, rng.uniform(-45, 45), 9, 2.5)


def magnified(image: Image3, factor: float) -> Image3:
    kept = int(numpy.ceil(SIZE / factor))
    top = (SIZE - kept) // 2
    middle = image[top : top + kept, top : top + kept]
    large = scipy.ndimage.zoom(middle, (factor, factor, 1), order=1)
    trim = (large.shape[0] - SIZE) // 2
    return numpy.asarray(large[trim : trim + SIZE, trim : trim + SIZE])


def zoom_blur(image: Image3, rng: Generator) -> Image3:
    factors = numpy.arange(1, 1.26, 0.01)
    total = numpy.zeros_like(image)
    for factor in factors:
        total += magnified(image, factor)
    return (image + total) / (len(factors) + 1)


def snow(image: Image3, rng: Generator) -> Image3:
    layer = magnified(rng.normal(size=(SIZE, SIZE, 1), loc=0.3, scale=0.3), 1.25).repeat(3, axis=2)
    layer[layer < 0.65] = 0
    layer = smeared(layer, rng.uniform(-135, -45), 14, 12)
    grey = (image * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
    image = 0.8 * image + 0.2 * numpy.maximum(image, grey * 1.5 + 0.5)
    return image + layer + numpy.rot90(layer, k=2)


def frost(image: Image3, rng: Generator) -> Image3:
    path = textures_folder() / list(TEXTURES)[rng.integers(5)]
    texture = numpy.asarray(Image.open(path).convert("RGB").resize((200, 150)))
    top, left = rng.integers(0, 150 - SIZE), rng.integers(0, 200 - SIZE)
    return 0.75 * image + 0.45 * texture[top : top + SIZE, left : left + SIZE] / 255


def fog(image: Image3, rng: Generator) -> Image3:
    clouds, step, noise = numpy.zeros((SIZE, SIZE)), SIZE, 1.0

    def wobbled(total: Image3) -> Image3:
        return total / 4 + noise * rng.uniform(-1, 1, total.shape)

    while step >= 2:
        half = step // 2
        corners = clouds[0:SIZE:step, 0:SIZE:step]
        pairs = corners + numpy.roll(corners, -1, axis=0)
        clouds[half:SIZE:step, half:SIZE:step] = wobbled(pairs + numpy.roll(pairs, -1, axis=1))
        middles = clouds[half:SIZE:step, half:SIZE:step]
        sides = corners + numpy.roll(corners, -1, axis=1)
        clouds[0:SIZE:step, half:SIZE:step] = wobbled(middles + numpy.roll(middles, 1, axis=0) + sides)
        clouds[half:SIZE:step, 0:SIZE:step] = wobbled(middles + numpy.roll(middles, 1, axis=1) + pairs)
        step, noise = half, noise / 1.75**2
    clouds -= clouds.min()
    brightest = image.max()
    return numpy.asarray((image + 1.5 * (clouds / clouds.max())[:, :, None]) * brightest / (brightest + 1.5))


def brightness(image: Image3, rng: Generator) -> Image3:
    hsv = rgb_to_hsv(image)
    hsv[:, :, 2] = numpy.clip(hsv[:, :, 2] + 0.3, 0, 1)
    return numpy.asarray(hsv_to_rgb(hsv))


def contrast(image: Image3, rng: Generator) -> Image3:
    means = image.mean(axis=(0, 1), keepdims=True)
    return numpy.asarray((image - means) * 0.15 + means)


def spatter(image: Image3, rng: Generator) -> Image3:
    liquid = scipy.ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE), loc=0.65, scale=0.1), 0.5, mode="nearest")
    mask = scipy.ndimage.gaussian_filter((liquid > 0.68).astype(float), 0.6, mode="nearest")
    mask[mask < 0.8] = 0
    color = numpy.stack([value / 255 * numpy.ones((SIZE, SIZE)) for value in (63, 42, 20)], axis=2)
    return numpy.asarray(image * (1 - mask[:, :, None]) + color * mask[:, :, None])


def elastic(image: Image3, rng: Generator) -> Image3:
    corners = numpy.array([[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]])
    moved = corners + rng.uniform(-0.03 * SIZE, 0.03 * SIZE, (3, 2))
    matrix = numpy.linalg.solve(numpy.hstack([moved, numpy.ones((3, 1))]), corners)
    x, y = numpy.meshgrid(numpy.arange(SIZE), numpy.arange(SIZE))
    columns, rows = (matrix[0, axis] * x + matrix[1, axis] * y + matrix[2, axis] for axis in (0, 1))
    image = resampled(image, rows, columns, "mirror")
    down, right = (
        3.2 * scipy.ndimage.gaussian_filter(rng.uniform(-1, 1, (SIZE, SIZE)), 0.96, mode="reflect", truncate=3)
        for _ in range(2)
    )
    return resampled(image, y + down, x + right, "reflect")


def resampled(image: Image3, rows: Image3, columns: Image3, mode: str) -> Image3:
    planes = [
        scipy.ndimage.map_coordinates(image[:, :, channel], [rows, columns], order=1, mode=mode) for channel in range(3)
    ]
    return numpy.stack(planes, axis=2)


def jpeg(image: Image3, rng: Generator) -> Image3:
    file = BytesIO()
    Image.fromarray(numpy.uint8(image * 255)).save(file, "JPEG", quality=40)
    return numpy.asarray(Image.open(file)) / 255


def pixelate(image: Image3, rng: Generator) -> Image3:
    picture = Image.fromarray(numpy.uint8(image * 255))
    side = int(SIZE * 0.65)
    shrunk = picture.resize((side, side), Image.Resampling.BOX)
    return numpy.asarray(shrunk.resize((SIZE, SIZE), Image.Resampling.BOX)) / 255


def saturate(image: Image3, rng: Generator) -> Image3:
    hsv = rgb_to_hsv(image)
    hsv[:, :, 1] = numpy.clip(hsv[:, :, 1] * 2.5 + 0.2, 0, 1)
    return numpy.asarray(hsv_to_rgb(hsv))


def original(image: Image3, rng: Generator) -> Image3:
    return image


REFERENCE: dict[str, Callable[[Image3, Generator], Image3]] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise, speckle_noise, gaussian_blur, defocus_blur, glass_blur),
        *(motion_blur, zoom_blur, original, snow, frost, fog, brightness, contrast, spatter, elastic, jpeg),
        *(pixelate, saturate),
    )
}


def one_by_one(images: NDArray[numpy.uint8], name: str, rng: Generator) -> NDArray[numpy.uint8]:
    """Apply the corruption `name` to `images` uint8 [N, 3, 32, 32]."""
    corrupted = [
        numpy.uint8(numpy.clip(REFERENCE[name](image.transpose(1, 2, 0) / 255, rng), 0, 1) * 255) for image in images
    ]
    return numpy.stack(corrupted).transpose(0, 3, 1, 2)
