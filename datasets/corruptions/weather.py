"""Snow, frost and fog."""

import hashlib
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy
from PIL import Image

from debiaslab.core.errors import UserError
from debiaslab.datasets.corruptions.blur import smear
from debiaslab.datasets.corruptions.draws import Draws
from debiaslab.datasets.corruptions.pixels import Images, Values, as_bytes, as_unit, magnify

LUMA = numpy.array([0.299, 0.587, 0.114])[:, None, None]  # weights of red, green and blue in the luma

# the frost textures of the protocol, from the package imagecorruptions, with their SHA-256
TEXTURES_PACKAGE = "imagecorruptions"
TEXTURES = {
    "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
}
INSTALL = f"install it with: pip install --no-deps {TEXTURES_PACKAGE}==1.1.2"
SHRINK = 5  # downsampling factor of the textures


def snow(
    images: Images,
    draws: Draws,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    mix: float,
) -> Images:
    """The image, whitened by 1 - `mix`, with snow: a layer of flakes and the same layer rotated by 180 degrees.

    Flakes are the values above `threshold` in normal noise magnified by `zoom`; they fall within 45 degrees of the
    vertical, see `smear`.
    """
    size = images.shape[-1]
    layer = magnify(mean + deviation * draws.normal(1, size, size), zoom)
    flakes = as_bytes(numpy.where(layer < threshold, 0, layer))
    falling = smear(flakes, draws.uniform(-135, -45), radius, sigma) / 255
    values = as_unit(images)
    luma = (values * LUMA).sum(axis=1, keepdims=True)
    values = mix * values + (1 - mix) * numpy.maximum(values, 1.5 * luma + 0.5)
    return as_bytes(values + falling + falling[:, :, ::-1, ::-1])


def frost(images: Images, draws: Draws, image_share: float, texture_share: float) -> Images:
    """The weighted sum of the image and a random crop of one of five frost textures.

    The textures are large enough for images of up to 62x62 pixels.
    """
    size = images.shape[-1]
    textures = frost_textures()
    chosen = draws.integers(0, len(textures))
    room = numpy.array([texture.shape[1:] for texture in textures])[chosen] - size  # [N, 2]
    corners = (draws.uniform(0, 1, 2) * room).astype(numpy.int64)
    parts = [
        textures[texture][:, top : top + size, left : left + size]
        for texture, (top, left) in zip(chosen, corners, strict=True)
    ]
    return (image_share * images + texture_share * numpy.stack(parts)).clip(0, 255).astype(numpy.uint8)


@cache
def frost_textures() -> list[Images]:
    """Read the five textures, uint8 [3, height, width], keeping every fifth pixel.

    Raises `UserError` if their package is missing, or contains other textures than the protocol's.
    """
    folder = textures_folder()
    if not folder.is_dir():
        raise UserError(f"the corruption frost needs the textures of the package {TEXTURES_PACKAGE}; {INSTALL}")
    textures = []
    for name, checksum in TEXTURES.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
            raise UserError(f"{path} is missing or not the expected frost texture; {INSTALL}")
        picture = numpy.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        textures.append(picture[:, SHRINK // 2 :: SHRINK, SHRINK // 2 :: SHRINK])
    return textures


def textures_folder() -> Path:
    """Where the textures are, or would be if their package were installed."""
    package = find_spec(TEXTURES_PACKAGE)  # not imported, which fails with numpy 2
    if package is None or package.origin is None:
        return Path(sysconfig.get_path("purelib")) / TEXTURES_PACKAGE / "frost"
    return Path(package.origin).parent / "frost"


def fog(images: Images, draws: Draws, strength: float, decay: float) -> Images:
    """The image plus `strength` times clouds, scaled so that the maximum does not change under full clouds."""
    size = images.shape[-1]
    values = as_unit(images)
    brightest = values.max(axis=(1, 2, 3), keepdims=True)
    clouds = plasma(draws, 1 << (size - 1).bit_length(), decay)[:, None, :size, :size]
    return as_bytes((values + strength * clouds) * (brightest / (brightest + strength)))


def plasma(draws: Draws, size: int, decay: float) -> Values:
    """Fractal clouds in [0, 1], [N, size, size], for a `size` that is a power of two.

    Diamond-square on a torus: the centre of four known points is their mean plus uniform noise, first for the centres
    of squares, then for those of diamonds, then at half the distance with 1 / `decay`^2 of the noise.
    """
    noise = draws.uniform(-1, 1, size * size - 1)
    clouds = numpy.zeros((len(noise), size, size))
    step, amplitude, used = size, 1.0, 0

    def next_noise() -> Values:
        """[N, size / step, size / step]"""
        nonlocal used
        points = size // step
        used += points**2
        return amplitude * noise[:, used - points**2 : used].reshape(-1, points, points)

    while step > 1:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        below, right = numpy.roll(corners, -1, axis=1), numpy.roll(corners, -1, axis=2)
        middles = (corners + below + right + numpy.roll(below, -1, axis=2)) / 4 + next_noise()
        clouds[:, half::step, half::step] = middles
        clouds[:, ::step, half::step] = (corners + right + middles + numpy.roll(middles, 1, axis=1)) / 4 + next_noise()
        clouds[:, half::step, ::step] = (corners + below + middles + numpy.roll(middles, 1, axis=2)) / 4 + next_noise()
        step, amplitude = half, amplitude / decay**2
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    clouds /= clouds.max(axis=(1, 2), keepdims=True)
    return clouds
