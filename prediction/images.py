"""List the images to predict: all in a folder and below it, the paths in a CSV, or a single file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debiaslab.core.errors import UserError
from debiaslab.core.files import as_on_disk
from debiaslab.datasets.csv_table import read_csv
from debiaslab.datasets.image_files import SUFFIXES, walk_files


@dataclass(frozen=True)
class ListedImages:
    """Image files, with their `names` as the user wrote them; `ignored` counts other files in the folder."""

    names: Sequence[str]
    files: Sequence[Path]
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.files)


def list_images(source: str) -> ListedImages:
    """List the images of `source`: a folder, a CSV with a column path, or an image. No image is opened.

    Paths in a CSV are relative to its folder. Raises `UserError` if there is no image.
    """
    path = as_on_disk(Path(source))
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        raise UserError(f"images={source}: no such file or folder; give a folder of images, or a CSV")
    if path.suffix.lower() in SUFFIXES:
        return ListedImages([source], [path])
    if path.suffix.lower() == ".npy":
        raise UserError(f"images={source}: an array, not images; give features={source} for a run of features")
    table = read_csv(path, required=("path",), setting="images")
    return ListedImages(table.columns["path"], table.paths())


def _in_folder(folder: Path) -> ListedImages:
    found = sorted(walk_files(folder, follow_links=False), key=Path.as_posix)
    files = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not files:
        raise UserError(f"images={folder}: contains no image ({', '.join(SUFFIXES)})")
    return ListedImages([str(path) for path in files], files, len(found) - len(files))
