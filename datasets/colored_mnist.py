"""Colored MNIST (Nam et al., NeurIPS 2020): the colour of a digit correlates with its class.

Protocols: `published` trains on all 60,000 images and has no validation images, as in the papers; `holdout` holds out
the last 5,000 training images, coloured without bias, for validation; `iid` about as many random ones with the training
bias. All test on the same 10,000 unbiased images.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from debiaslab.core.settings import setting
from debiaslab.datasets.arrays import array_sources, read_arrays
from debiaslab.datasets.base import BiasedDataset, DatasetConfig, Source, split_of
from debiaslab.datasets.cache import cache_folder, fingerprint, load_or_build
from debiaslab.datasets.coloring import build_colored_digits, coloring_setting, dataset_from_tensors
from debiaslab.datasets.declarations import arrays_setting, reverse_setting, skew_setting
from debiaslab.datasets.groups import with_iid_validation
from debiaslab.datasets.mnist import CHECKSUMS, mnist_sources, read_mnist

VERSION = 1  # increment it whenever the result changes
NUM_VALID = 5_000


@dataclass(frozen=True, kw_only=True)
class ColoredMNIST(DatasetConfig):
    NUM_TRAIN = 60_000
    KIND = "digits"
    LICENCE = "CC BY-SA 3.0 (MNIST)"
    SIZE = "70,000 images: 12 MB to download, 0.2 GB in memory"

    cache: str | None = setting(None, "folder of the built data set; None: <root>/cache", place=True)
    skew: float | None = skew_setting(0.01, unless="arrays")
    severity: int | None = coloring_setting(unless="arrays")
    arrays: str | None = arrays_setting("MNIST")
    reverse: bool = reverse_setting("digit and colour")

    def sources(self) -> list[Source]:
        return mnist_sources(Path(self.root)) if self.arrays is None else array_sources(Path(self.arrays))

    def load(self) -> BiasedDataset:
        data = self._load()
        return with_iid_validation(data, NUM_VALID / len(data.train), self.seed) if self.protocol == "iid" else data

    def _load(self) -> BiasedDataset:
        if self.arrays is not None:
            return read_arrays(Path(self.arrays), "colored_mnist", self._num_valid(), self.seed, self.reverse)
        key = fingerprint(
            version=VERSION,
            source=CHECKSUMS,
            protocol=split_of(self.protocol),
            seed=self.seed,
            skew=self.skew,
            severity=self.severity,
        )
        tensors = load_or_build(cache_folder(self.root, self.cache), "colored_mnist", key, self._build)
        return dataset_from_tensors("colored_mnist", tensors, key, self.reverse)

    def _build(self) -> dict[str, Tensor]:
        assert self.skew is not None
        assert self.severity is not None
        train, test = read_mnist(Path(self.root))
        return build_colored_digits(
            train, test, num_valid=self._num_valid(), skew=self.skew, severity=self.severity, seed=self.seed
        )

    def _num_valid(self) -> int:
        return NUM_VALID if self.protocol == "holdout" else 0
