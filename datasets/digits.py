"""Colored digits: scikit-learn's bundled 1,797 real 8x8 digits, enlarged to 28x28 and coloured like Colored MNIST.

Nothing needs to be downloaded: use this data set to try things out. Test: the last 397 images (by other writers than
the training images); validation with `holdout`: the 200 before them, without bias; with `iid`: about as many random
training images.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from debiaslab.core.settings import setting
from debiaslab.datasets.base import BiasedDataset, DatasetConfig, split_of
from debiaslab.datasets.cache import cache_folder, fingerprint, load_or_build
from debiaslab.datasets.coloring import Digits, build_colored_digits, coloring_setting, dataset_from_tensors
from debiaslab.datasets.declarations import reverse_setting, skew_setting
from debiaslab.datasets.groups import with_iid_validation

VERSION = 1  # increment it whenever the result changes
NUM_TEST = 397
NUM_VALID = 200
SIZE = 28  # pixels, height and width


@dataclass(frozen=True, kw_only=True)
class ColoredDigits(DatasetConfig):
    NUM_TRAIN = 1_400
    KIND = "digits"
    SIZE = "1,797 images, bundled with scikit-learn"
    LICENCE = "CC BY 4.0 (Optical Recognition of Handwritten Digits, UCI Machine Learning Repository)"

    cache: str | None = setting(None, "folder of the built data set; None: <root>/cache", place=True)
    skew: float = skew_setting(0.02)
    severity: int = coloring_setting()
    reverse: bool = reverse_setting("digit and colour")

    def load(self) -> BiasedDataset:
        data = self._load()
        return with_iid_validation(data, NUM_VALID / len(data.train), self.seed) if self.protocol == "iid" else data

    def _load(self) -> BiasedDataset:
        key = fingerprint(
            version=VERSION,
            protocol=split_of(self.protocol),
            seed=self.seed,
            skew=self.skew,
            severity=self.severity,
        )
        tensors = load_or_build(cache_folder(self.root, self.cache), "digits", key, self._build)
        return dataset_from_tensors("digits", tensors, key, self.reverse)

    def _build(self) -> dict[str, Tensor]:
        images, target = read_digits()
        return build_colored_digits(
            (images[:-NUM_TEST], target[:-NUM_TEST]),
            (images[-NUM_TEST:], target[-NUM_TEST:]),
            num_valid=NUM_VALID if self.protocol == "holdout" else 0,
            skew=self.skew,
            severity=self.severity,
            seed=self.seed,
        )


def read_digits() -> Digits:
    """Read images uint8 [1797, 28, 28] and targets int64 [1797], in scikit-learn's order."""
    rows = numpy.loadtxt(_file(), delimiter=",", dtype=numpy.float32)  # 64 pixels from 0 to 16, and the target
    small = torch.from_numpy(rows[:, :-1].reshape(-1, 1, 8, 8)) * (255 / 16)
    large = interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
    return large.round().to(torch.uint8).numpy(), rows[:, -1].astype(numpy.int64)


def _file() -> Path:
    """The file that scikit-learn's `load_digits` reads; importing it would take seconds."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
