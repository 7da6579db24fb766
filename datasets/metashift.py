"""MetaShift (Liang & Zou, ICLR 2022), cats and dogs indoors and outdoors, with the splits of SubpopBench.

The folders are named for another experiment (cats indoors against dogs outdoors); as in SubpopBench (Yang et al., ICML
2023), all four groups are pooled, and a quarter of all images is drawn at random for testing, a tenth for validation.
All protocols have these splits, as the validation images have the distribution of the training images.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy

from debiaslab.datasets.base import Source
from debiaslab.datasets.image_files import LabelledFiles, images_in_folders
from debiaslab.datasets.photographs import Photographs

FOLDER = "MetaShift-Cat-Dog-indoor-outdoor"
GROUPS = {  # (target, bias) of the images
    "train/cat/cat(indoor)": (1, 1),
    "train/dog/dog(outdoor)": (0, 0),
    "test/cat/cat(outdoor)": (1, 0),
    "test/dog/dog(indoor)": (0, 1),
}
TEST_SHARE, VALID_SHARE = 0.25, 0.1  # of all images
SEED = 42  # of SubpopBench, to which data.seed is added
ARCHIVE = "https://www.dropbox.com/s/a7k65rlj4ownyr2/metashift.tar.gz, linked by SubpopBench; unpacked"


@dataclass(frozen=True, kw_only=True)
class MetaShift(Photographs):
    NAME = "metashift"
    CLASSES = ("dog", "cat")
    BIASES = ("outdoor", "indoor")
    IID_VALID = True
    SIZE = "about 3,500 images, 0.5 GB decoded"
    LICENCE = "CC BY 4.0 (Visual Genome, which the photographs are from)"

    @property
    def folder(self) -> Path:
        """In the data folder, or in a folder `metashift` there, as in SubpopBench."""
        own, inner = (Path(self.root) / place / FOLDER for place in ("", "metashift"))
        return inner if inner.is_dir() and not own.is_dir() else own

    def sources(self) -> list[Source]:
        return [Source(self.folder / name, "photographs, *.jpg", ARCHIVE) for name in GROUPS]

    def files(self) -> dict[str, LabelledFiles]:
        pooled = images_in_folders(self.folder, GROUPS)
        rows, generator = numpy.arange(len(pooled.files)), numpy.random.RandomState(SEED + self.seed)
        test = generator.choice(rows, int(len(rows) * TEST_SHARE), replace=False)
        others = numpy.setdiff1d(rows, test)
        valid = generator.choice(others, int(len(rows) * VALID_SHARE), replace=False)
        chosen = {"train": numpy.setdiff1d(others, valid), "valid": numpy.sort(valid), "test": numpy.sort(test)}
        return {name: pooled.select(of_split.tolist()) for name, of_split in chosen.items()}
