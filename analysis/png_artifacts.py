"""The images among the files of recorded runs."""

import io
from collections.abc import Collection

from PIL import Image, UnidentifiedImageError

from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError


def read_png_artifacts(record: Record, without: Collection[str] = ()) -> tuple[dict[str, bytes], list[str]]:
    """Read a run's PNG files except `without`: (name -> content, a line for each that cannot be read)."""
    contents, problems = {}, []
    try:
        names = sorted(name for name in record.artifact_names() if name.endswith(".png") and name not in without)
    except UserError as error:
        return {}, [str(error)]
    for name in names:
        try:
            content = record.artifact(name)
            png_size(content)
            contents[name] = content
        except UserError as error:
            problems.append(str(error))
        except UnidentifiedImageError:
            problems.append(f"{name} of the run {record.id} is damaged: it is not an image")
    return contents, problems


def png_size(content: bytes) -> tuple[int, int]:
    """(width, height) in pixels. Raises `UnidentifiedImageError`."""
    with Image.open(io.BytesIO(content)) as picture:
        return picture.size
