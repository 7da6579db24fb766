"""Text and files of pictures that Pillow draws: a run waits for them, and Matplotlib takes ten times as long."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ImageFont

from debiaslab.core.files import atomic_write

DPI = 150
PIXELS_PER_POINT = DPI / 72  # of the size of a font
COMPRESSION = 1  # of zlib's 9: the pictures are a third larger than with 6, in a third of the time


@lru_cache
def font(points: float, bold: bool = False) -> Any:
    """The font of the other figures, which comes with Matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(_font_folder() / name, points * PIXELS_PER_POINT)


@lru_cache
def _font_folder() -> Path:
    found = find_spec("matplotlib")  # without the import
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / "mpl-data"
    if not folder.is_dir():  # some systems keep it elsewhere
        import matplotlib

        folder = Path(matplotlib.get_data_path())
    return folder / "fonts" / "ttf"


def save_png(picture: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG", compress_level=COMPRESSION)
