"""Biased MNIST (Bahng et al., ICML 2020): white digits on a background whose colour correlates with the class.

Protocols: `published` trains on all 60,000 images and validates as EnD does (Tartaglione et al., CVPR 2021): on 30 % of
the training images, recoloured without bias; they also stay in training, so validation digits leak. `holdout` holds out
the last 5,000 training images, coloured without bias; `iid` holds out about as many random ones with the training bias.
All test on the same 10,000 digits, coloured three times: unbiased at rho 0.1 (`test`), at rho 1 (`test_biased`) and at
rho 0 (`test_rho0`).
"""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.core.randomness import numpy_generator
from debiaslab.core.settings import between, setting
from debiaslab.datasets.base import BiasedDataset, DatasetConfig, SelectionImages, Source, split_of
from debiaslab.datasets.cache import cache_folder, fingerprint, load_or_build
from debiaslab.datasets.coloring import Digits
from debiaslab.datasets.groups import with_iid_validation
from debiaslab.datasets.mnist import CHECKSUMS, mnist_sources, read_mnist
from debiaslab.datasets.preprocessing import Normalization
from debiaslab.datasets.splits import Split

STATISTICS: Normalization = ((0.5,) * 3, (0.5,) * 3)
VERSION = 1  # increment it whenever the result changes
NUM_VALID = 5_000  # held out of training by `holdout`
LEAKED_SHARE = 0.3  # fraction of the training images that `published` validates on

# RGB; row c is the background colour of bias class c
COLORS = numpy.array(
    [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [225, 225, 0],
        [225, 0, 225],
        [0, 255, 255],
        [255, 128, 0],
        [255, 0, 128],
        [128, 0, 255],
        [128, 128, 128],
    ],
    dtype=numpy.uint8,
)
NUM_COLORS = len(COLORS)

UNBIASED_RHO = 1 / NUM_COLORS
TESTS = {"test": UNBIASED_RHO, "test_biased": 1.0, "test_rho0": 0.0}  # split -> rho


@dataclass(frozen=True, kw_only=True)
class BiasedMNIST(DatasetConfig):
    NUM_TRAIN = 60_000
    KIND = "digits"
    LICENCE = "CC BY-SA 3.0 (MNIST)"
    SIZE = "70,000 images: 12 MB to download, 0.2 GB in memory"

    cache: str | None = setting(None, "folder of the built data set; None: <root>/cache", place=True)
    rho: float = setting(
        0.997,
        "fraction of training images in the colour of their class",
        between(0, 1, "from 0 to 1"),
        label=True,
        percent=lambda rho: 100 * (1 - rho),
    )
    n_confusing: int = setting(
        9, "number of colours among the other training images of a class", between(1, NUM_COLORS - 1)
    )

    def sources(self) -> list[Source]:
        return mnist_sources(Path(self.root))

    def selection_images(self) -> SelectionImages:
        return SelectionImages(knows_bias=True, has_valid=True)

    def load(self) -> BiasedDataset:
        data = self._load()
        return with_iid_validation(data, NUM_VALID / len(data.train), self.seed) if self.protocol == "iid" else data

    def _load(self) -> BiasedDataset:
        key = fingerprint(
            version=VERSION,
            source=CHECKSUMS,
            protocol=split_of(self.protocol),
            seed=self.seed,
            rho=self.rho,
            n_confusing=self.n_confusing,
        )
        tensors = load_or_build(cache_folder(self.root, self.cache), "biased_mnist", key, self._build)
        return dataset_from_tensors(tensors, key)

    def _build(self) -> dict[str, Tensor]:
        train, test = read_mnist(Path(self.root))
        leaks = self.protocol != "holdout"  # iid leaves these validation images out
        num_valid = int(LEAKED_SHARE * len(train[0])) if leaks else NUM_VALID
        return build_biased_digits(
            train, test, num_valid=num_valid, leaks=leaks, rho=self.rho, n_confusing=self.n_confusing, seed=self.seed
        )


def build_biased_digits(
    train: Digits, test: Digits, *, num_valid: int, leaks: bool, rho: float, n_confusing: int, seed: int
) -> dict[str, Tensor]:
    """Build tensors "<split>/<field>" for train, valid and the splits of `TESTS`.

    The validation images are unbiased: the last `num_valid` training images, which are removed from train, or, if
    validation `leaks`, `num_valid` random ones, which stay in train. `rho` and `n_confusing` (see `assign_background`)
    apply to train.
    """
    tensors: dict[str, Tensor] = {}

    def add(split: str, digits: Digits, rho: float, n_confusing: int = NUM_COLORS - 1) -> None:
        images, target = digits
        bias = assign_background(target, rho, n_confusing, numpy_generator(seed, "background", split))
        tensors[f"{split}/images"] = torch.from_numpy(color_background(images, bias))
        tensors[f"{split}/target"] = torch.from_numpy(target.copy())
        tensors[f"{split}/bias"] = torch.from_numpy(bias)

    images, target = train
    if leaks:
        valid = numpy_generator(seed, "leaked validation").permutation(len(images))[:num_valid]
        kept = slice(None)
    else:
        valid = numpy.arange(len(images) - num_valid, len(images))
        kept = slice(len(images) - num_valid)
    add("train", (images[kept], target[kept]), rho, n_confusing)
    add("valid", (images[valid], target[valid]), UNBIASED_RHO)
    for split, test_rho in TESTS.items():
        add(split, test, test_rho)
    return tensors


def assign_background(
    target: NDArray[numpy.int64], rho: float, n_confusing: int, generator: numpy.random.Generator
) -> NDArray[numpy.int64]:
    """Bias labels int64 [N] for targets int64 [N] by the protocol of ReBias.

    Of the n samples of a class, in random order, the first int(n * rho) have the bias of the class. The others are
    split into chunks of equal size, rounded up, which get the next `n_confusing` biases in random order.
    """
    bias = target.copy()
    for label in numpy.unique(target):
        members = generator.permutation(numpy.flatnonzero(target == label))
        confusing = generator.permutation((label + 1 + numpy.arange(n_confusing)) % NUM_COLORS)
        others = members[int(len(members) * rho) :]
        chunk = max(1, ceil(len(others) / n_confusing))
        bias[others] = confusing[numpy.arange(len(others)) // chunk]
    return bias


def color_background(digits: NDArray[numpy.uint8], bias: NDArray[numpy.int64]) -> NDArray[numpy.uint8]:
    """Put grey digits uint8 [N, H, W] on the colour of their bias: uint8 [N, 3, H, W]; nonzero pixels become white."""
    return numpy.where(digits[:, None] != 0, numpy.uint8(255), COLORS[bias][:, :, None, None])


def dataset_from_tensors(tensors: dict[str, Tensor], key: str) -> BiasedDataset:
    """The data set of the tensors that `build_biased_digits` returns."""
    train, valid, test, biased, rho0 = (
        Split(tensors[f"{part}/images"], tensors[f"{part}/target"], tensors[f"{part}/bias"])
        for part in ("train", "valid", *TESTS)
    )
    return BiasedDataset(
        name="biased_mnist",
        train=train,
        valid=valid,
        test=test,
        num_classes=NUM_COLORS,
        num_biases=NUM_COLORS,
        fingerprint=key,
        extra={"test_biased": biased, "test_rho0": rho0},
        normalize=STATISTICS,
    )
