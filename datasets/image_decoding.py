"""Image files as a viewer shows them: upright, the first picture of several, on white where they are transparent."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import ExifTags, Image

from debiaslab.core.errors import UserError
from debiaslab.core.files import require_regular

BACKGROUND = "white"  # shows through transparent pixels
MAX_PIXELS, DEFAULT_MAX_PIXELS = "DEBIAS_MAX_PIXELS", 178_956_970  # an environment variable; what Pillow opens

# EXIF's orientation -> what turns the stored picture upright; 1 is upright, others are unknown
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
    """The file `path` is not a complete image, or one that is not read: of more than 8 bits, or too large."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path


def read_image(path: Path, prepare: Callable[[Image.Image], Image.Image]) -> tuple[NDArray[numpy.uint8], list[int]]:
    """The prepared image uint8 [H, W, 3] and [height, width] of the upright original. Raises `BrokenImage`."""
    Image.MAX_IMAGE_PIXELS = None  # Pillow's limit, which cannot be told from damage; `_require_size` has ours
    try:
        require_regular(path)
        with Image.open(path) as image:
            _require_size(path, image)
            _require_8_bits(path, image)
            shown = as_shown(image)
            return numpy.asarray(prepare(shown)), [shown.height, shown.width]
    except UserError:
        raise
    except Exception as error:  # there is no end to what decoders raise for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokenImage(path, f"is not a complete image ({reason}); replace or remove the file") from None


def as_shown(image: Image.Image) -> Image.Image:
    """`image` in RGB and upright. Colour profiles do not count, and CMYK is converted by Pillow's simple formula."""
    image.load()
    turn = TO_UPRIGHT.get(_orientation(image))
    if image.mode == "I;16":  # of a PNG: 65535 is white
        image = Image.fromarray((numpy.asarray(image) >> 8).astype(numpy.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image.convert("RGBA"))
    rgb = image.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of damaged EXIF, which viewers ignore
        return 1


def _require_8_bits(path: Path, image: Image.Image) -> None:
    """Raise `BrokenImage` where it is unknown which values are black and white. Those of a PNG are known."""
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
            f"has {image.width} x {image.height} pixels, more than {int(text):,}; make it smaller or, if it is what it"
            f" should be (small files can claim any size), set the environment variable {MAX_PIXELS}={pixels}",
        )
