"""Waterbirds (Sagawa et al., ICLR 2020): birds of CUB-200-2011 cut out and put on backgrounds of Places.

The target is the kind of bird, the bias its background. In the training images 95 % of the birds of each kind are on
their usual background; in the validation and test images, half of them. `holdout` and `published` use the authors'
splits; `iid` holds out training images instead of the authors' validation images.
"""

from dataclasses import dataclass
from pathlib import Path

from debiaslab.datasets.base import Source
from debiaslab.datasets.csv_table import CSVTable, read_csv
from debiaslab.datasets.image_files import LabelledFiles
from debiaslab.datasets.photographs import Photographs
from debiaslab.datasets.preprocessing import StretchedCenterCrop

FOLDERS = ("waterbird_complete95_forest2water2", "waterbirds_v1.0")  # of the authors' archive, and of WILDS
METADATA = "metadata.csv"
COLUMNS = {"path": "img_filename", "target": "y", "bias": "place", "split": "split"}  # our name -> theirs
SPLITS = ("train", "valid", "test")  # 0, 1, 2 in the file
ARCHIVE = "https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz, unpacked"


@dataclass(frozen=True, kw_only=True)
class Waterbirds(Photographs):
    NAME = "waterbirds"
    CLASSES = ("landbird", "waterbird")
    BIASES = ("land", "water")
    NUM_TRAIN = 4_795
    NUM_IMAGES = {"train": 4_795, "valid": 1_199, "test": 5_794}
    CROP = StretchedCenterCrop
    SIZE = "11,788 images, 1.8 GB decoded"
    LICENCE = "for non-commercial research and education only (WILDS, of the images it is made from)"

    @property
    def folder(self) -> Path:
        """The authors' folder, or that of WILDS if only that exists."""
        authors, wilds = (Path(self.root) / name for name in FOLDERS)
        return wilds if wilds.is_dir() and not authors.is_dir() else authors

    def sources(self) -> list[Source]:
        content = "11,788 images in NNN.Species/*.jpg; their classes, backgrounds and splits"
        return [Source(self.folder / METADATA, content, ARCHIVE)]

    def files(self) -> dict[str, LabelledFiles]:
        names = {ours: [theirs] for ours, theirs in COLUMNS.items()}
        table = read_csv(self.folder / METADATA, tuple(COLUMNS), "metadata", names)
        images = LabelledFiles(self.folder, table.files(), _numbers(table, "target", 2), _numbers(table, "bias", 2))
        split = _numbers(table, "split", len(SPLITS))
        return {
            name: images.select([row for row, value in enumerate(split) if value == number])
            for number, name in enumerate(SPLITS)
        }


def _numbers(table: CSVTable, column: str, count: int) -> list[int]:
    """The values of a column, integers below `count`. Raises `UserError` for any other."""
    allowed = [str(number) for number in range(count)]
    for row, value in enumerate(table.columns[column]):
        if value not in allowed:
            raise table.mistake(
                row, f"{COLUMNS[column]} {value!r}, must be {' or '.join(allowed)}; restore the original file"
            )
    return [int(value) for value in table.columns[column]]
