"""Colored digits: scikit-learn's bundled 1,797 real 8x8 digits, enlarged to 28x28 and coloured as Colored MNIST.

Nothing is downloaded: the data set to try things on. Test: the last 397 images (other writers than the training
ones); validation under `holdout`: the 200 before them.
"""

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from debiaslab.core.settings import require
from debiaslab.datasets.base import PROTOCOLS, BiasedDataset, DatasetConfig
from debiaslab.datasets.cache import cache_folder, cached, fingerprint
from debiaslab.datasets.coloring import Digits, build_colored_digits, dataset_from_tensors, require_coloring

VERSION = 1  # of what is built; raise it with every change of the result
NUM_TEST = 397
NUM_VALID = 200
SIZE = 28  # pixels, height and width


@dataclass(frozen=True, kw_only=True)
class ColoredDigits(DatasetConfig):
    NUM_TRAIN = 1_400

    cache: str | None = None  # folder of the built data set; None: <root>/cache
    skew: float = 0.02  # fraction of bias-conflicting training images
    severity: int = 4  # 1 to 5: the purer the colours
    reverse: bool = False  # swap the roles of digit and colour

    def __post_init__(self) -> None:
        require(self.protocol in PROTOCOLS, "protocol", self.protocol, " or ".join(PROTOCOLS))
        require_coloring(self.skew, self.severity)

    def load(self) -> BiasedDataset:
        key = fingerprint(
            version=VERSION, protocol=self.protocol, seed=self.seed, skew=self.skew, severity=self.severity
        )
        tensors = cached(cache_folder(self.root, self.cache), "digits", key, self._build)
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
    """Images uint8 [1797, 28, 28] and targets int64 [1797], in scikit-learn's order."""
    from sklearn.datasets import load_digits  # imported here: it takes seconds, and the cache saves them

    bunch = load_digits()
    small = torch.from_numpy(bunch.images.astype(numpy.float32))[:, None] * (255 / 16)
    large = interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
    return large.round().to(torch.uint8).numpy(), bunch.target.astype(numpy.int64)
