"""Corrupted CIFAR-10 (Nam et al., NeurIPS 2020): the corruption of an image correlates with its class.

Protocols: `published` trains on all 50,000 images and has no validation images, as in the papers; `holdout` holds out
the last 5,000 training images, corrupted without bias, for validation; `iid` as many random ones with the training
bias. All test on the same 10,000 unbiased images.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.core.errors import UserError, require_known
from debiaslab.core.parallel import map_in_processes
from debiaslab.core.progress_bar import progress_bar
from debiaslab.core.randomness import derived_seed
from debiaslab.core.settings import between, require, setting
from debiaslab.datasets.arrays import array_sources, read_arrays
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.datasets.base import CIFAR10_STATISTICS, BiasedDataset, DatasetConfig, Source, split_of
from debiaslab.datasets.bias import assign_bias
from debiaslab.datasets.cache import cache_folder, fingerprint, load_or_build
from debiaslab.datasets.cifar10 import Origin, cifar10, cifar10_files
from debiaslab.datasets.cifar10_images import CLASSES, Pictures
from debiaslab.datasets.coloring import UNBIASED_RATIO, dataset_from_tensors
from debiaslab.datasets.corruptions import CORRUPTIONS, corrupt, load_all
from debiaslab.datasets.corruptions.weather import INSTALL, frost_textures, textures_folder
from debiaslab.datasets.declarations import arrays_setting, reverse_setting, skew_setting
from debiaslab.datasets.groups import with_iid_validation

VERSION = 1  # increment it whenever the result changes
NUM_VALID = 5_000
MAX_SEVERITY = 4
CHUNK = 100  # images to corrupt at a time: few enough to stay in the CPU cache
AUGMENT = CropAndFlip(padding=4)

# the corruptions of bias class 0, 1, ...
TYPES: dict[str, tuple[str, ...]] = {
    "type0": (
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "spatter",
        "elastic",
        "jpeg",
        "pixelate",
        "saturate",
    ),
    "type1": (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "speckle_noise",
        "gaussian_blur",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "original",
    ),
}


def named_corruptions(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the corruptions that the setting `value` stands for; empty if it is unknown."""
    return value if isinstance(value, tuple) else TYPES.get(value or "", ())


def require_corruptions(name: str, value: str | tuple[str, ...]) -> None:
    """Raise an error unless `value` stands for one corruption per class, all different."""
    names = named_corruptions(value)
    for corruption in names:
        require_known("corruption", corruption, CORRUPTIONS)
    allowed = f"{', '.join(TYPES)}, or a list of {len(CLASSES)} different corruptions"
    require(len(set(names)) == len(names) == len(CLASSES), name, value, allowed)


@dataclass(frozen=True, kw_only=True)
class CorruptedCIFAR10(DatasetConfig):
    NUM_TRAIN = 50_000
    SIZE = "60,000 images: 170 MB to download, 0.2 GB in the cache for each variant"
    KIND = "small images"

    cache: str | None = setting(None, "folder of the built data set; None: <root>/cache", place=True)
    corruptions: str | tuple[str, ...] | None = setting(
        "type0",
        "corruptions that bias the images: type0, type1, or the names of ten",
        require_corruptions,
        label=True,
        unless="arrays",
    )
    skew: float | None = skew_setting(0.01, unless="arrays")
    severity: int | None = setting(
        4,
        "strength of the corruptions, 0 to 4: CIFAR-10-C's severity minus one",
        between(0, MAX_SEVERITY),
        label=True,
        unless="arrays",
    )
    arrays: str | None = arrays_setting("CIFAR-10")
    reverse: bool = reverse_setting("object and corruption")

    def names(self) -> tuple[str, ...]:
        """The corruptions of bias class 0, 1, ...; empty with `arrays`."""
        return named_corruptions(self.corruptions)

    def sources(self) -> list[Source]:
        if self.arrays is not None:
            return array_sources(Path(self.arrays))
        frost = [Source(textures_folder(), "the pictures of the corruption frost", INSTALL)]
        return cifar10_files(Path(self.root)) + (frost if "frost" in self.names() else [])

    def load(self) -> BiasedDataset:
        data = self._load()
        return with_iid_validation(data, NUM_VALID / len(data.train), self.seed) if self.protocol == "iid" else data

    def _load(self) -> BiasedDataset:
        if self.arrays is not None:
            data = read_arrays(Path(self.arrays), "corrupted_cifar10", self._num_valid(), self.seed, self.reverse)
            return replace(data, normalize=CIFAR10_STATISTICS, augment=AUGMENT)
        if "frost" in self.names():
            frost_textures()  # fail early if they are missing
        folder = cache_folder(self.root, self.cache)
        origin = cifar10(Path(self.root), folder)
        key = fingerprint(
            version=VERSION,
            source=origin.content,
            protocol=split_of(self.protocol),
            seed=self.seed,
            skew=self.skew,
            severity=self.severity,
            corruptions=self.names(),
        )
        tensors = load_or_build(folder, "corrupted_cifar10", key, lambda: self._build(origin))
        data = dataset_from_tensors("corrupted_cifar10", tensors, key, self.reverse)
        names = (self.names(), CLASSES) if self.reverse else (CLASSES, self.names())
        return replace(data, normalize=CIFAR10_STATISTICS, augment=AUGMENT, class_names=names[0], bias_names=names[1])

    def _build(self, origin: Origin) -> dict[str, Tensor]:
        assert self.skew is not None
        assert self.severity is not None
        train, test = origin.read()
        return build_corrupted_images(
            train,
            test,
            num_valid=self._num_valid(),
            skew=self.skew,
            severity=self.severity + 1,
            corruptions=self.names(),
            seed=self.seed,
        )

    def _num_valid(self) -> int:
        return NUM_VALID if self.protocol == "holdout" else 0


@dataclass(frozen=True)
class Chunk:
    """Some images of a split that get the same corruption."""

    images: NDArray[numpy.uint8]  # all images of the split, [N, 3, 32, 32]
    index: NDArray[numpy.int64]  # indices of the chunk's images in the split
    corruption: str
    severity: int
    seed: int
    names: Sequence[str]  # names of the chunk's images, which their random numbers depend on

    def corrupt(self) -> NDArray[numpy.uint8]:
        seeds = [derived_seed(self.seed, "corruption", self.corruption, name) for name in self.names]
        return corrupt(self.images[self.index], self.corruption, self.severity, seeds)


def build_corrupted_images(
    train: Pictures,
    test: Pictures,
    *,
    num_valid: int,
    skew: float,
    severity: int,
    corruptions: Sequence[str],
    seed: int,
    workers: int | None = None,
) -> dict[str, Tensor]:
    """Build tensors "<split>/<field>" for train, valid and test.

    `skew` is the bias-conflicting fraction of train; valid, the last `num_valid` training images (0: no such split),
    and test are unbiased. Bias class b is `corruptions[b]`, at `severity` 1 to 5. The random numbers of an image depend
    on `seed`, the corruption and the image's position in CIFAR-10 alone. `workers`: number of processes; None: one per
    core.
    """
    tensors: dict[str, Tensor] = {}
    jobs: list[tuple[NDArray[numpy.uint8], Chunk]] = []  # (images of the split to write the result to, chunk)

    def add(split: str, pictures: Pictures, names: Sequence[str], aligned_ratio: float) -> None:
        images, target = pictures
        bias = assign_bias(target, aligned_ratio, num_classes=len(corruptions))
        corrupted = numpy.empty_like(images)
        for label, corruption in enumerate(corruptions):
            of_bias = numpy.flatnonzero(bias == label)
            for start in range(0, len(of_bias), CHUNK):
                index = of_bias[start : start + CHUNK]
                chunk = Chunk(images, index, corruption, severity, seed, [names[i] for i in index])
                jobs.append((corrupted, chunk))
        tensors[f"{split}/images"] = torch.from_numpy(corrupted)
        tensors[f"{split}/target"] = torch.from_numpy(target.copy())
        tensors[f"{split}/bias"] = torch.from_numpy(bias)

    images, target = train
    size = len(images) - num_valid
    if size <= 0:
        raise UserError(f"{len(images)} training images of CIFAR-10 are too few to keep {num_valid} for validation")
    names = [f"train/{position}" for position in range(len(images))]
    add("train", (images[:size], target[:size]), names[:size], 1 - skew)
    if num_valid:
        add("valid", (images[size:], target[size:]), names[size:], UNBIASED_RATIO)
    add("test", test, [f"test/{position}" for position in range(len(test[0]))], UNBIASED_RATIO)
    label = f"corrupting {len(images) + len(test[0]):,} images once"
    load_all(corruptions)
    made = map_in_processes(Chunk.corrupt, [chunk for _, chunk in jobs], workers or os.cpu_count() or 1)
    for (corrupted, chunk), images in zip(jobs, progress_bar(made, len(jobs), label), strict=True):
        corrupted[chunk.index] = images
    return tensors
