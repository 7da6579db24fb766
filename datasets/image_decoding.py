"""Decode image files as viewers show them: upright, the first frame of several, transparent pixels on white."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import ExifTags, Image

from debiaslab.core.errors import UserError
from debiaslab.core.files import require_regular

BACKGROUND = "white"  # behind transparent pixels
MAX_PIXELS, DEFAULT_MAX_PIXELS = "DEBIAS_MAX_PIXELS", 178_956_970  # environment variable; Pillow's limit

# EXIF orientation -> transpose that turns the image upright; 1 is upright, others are invalid
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenImage(UserError):
    """The file `path` is not a complete image, or not supported: more than 8 bits per channel, or too large."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path


def read_image(path: Path, prepare: Callable[[Image.Image], Image.Image]) -> tuple[NDArray[numpy.uint8], list[int]]:
    """Decode and prepare an image: uint8 [H, W, 3], and [height, width] of the original. Raises `BrokenImage`."""
    Image.MAX_IMAGE_PIXELS = None  # Pillow's error cannot be distinguished from damage; `_require_size` checks
    try:
        require_regular(path)
        with Image.open(path) as image:
            _require_size(path, image)
            _require_8_bits(path, image)
            shown = convert_to_rgb(image)
            return numpy.asarray(prepare(shown)), [shown.height, shown.width]
    except UserError:
        raise
    except Exception as error:  # decoders raise all kinds of errors for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokenImage(path, f"is not a complete image ({reason}); replace or remove the file") from None


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """Convert `image` to RGB and turn it upright. Ignores colour profiles; CMYK is converted by Pillow's formula."""
    image.load()
    turn = TO_UPRIGHT.get(_orientation(image))
    if image.mode == "I;16":  # a PNG: 65535 is white
        image = Image.fromarray((numpy.asarray(image) >> 8).astype(numpy.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image.convert("RGBA"))
    rgb = image.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data, which viewers ignore
        return 1


def _require_8_bits(path: Path, image: Image.Image) -> None:
    """Raise `BrokenImage` if the values of black and white are unknown. For PNG they are known."""
    if image.mode.startswith(("I", "F")) and not (image.format == "PNG" and image.mode == "I;16"):
        raise BrokenImage(path, f"has pixels of more than 8 bits (mode {image.mode}); save it with 8 bits")


def _require_size(path: Path, image: Image.Image) -> None:
    text = os.environ.get(MAX_PIXELS, str(DEFAULT_MAX_PIXELS))
    if not text.isdecimal():
        raise UserError(f"{MAX_PIXELS}={text}: must be a number of pixels, such as {DEFAULT_MAX_PIXELS}")
    pixels = image.width * image.height
    if pixels > int(text):
        raise BrokenImage(
            path,
            f"has {image.width} x {image.height} pixels, more than {int(text):,}; resize it or, if you trust"
            f" the file (small files can claim any size), set the environment variable {MAX_PIXELS}={pixels}",
        )
