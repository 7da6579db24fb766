"""Spawrious (Lynch et al., 2023): generated images of four breeds of dogs in six places, in six challenges.

One-to-one challenges (`o2o_...`): each breed is in a place of its own, but for some training images in a common one;
test images show each breed in the place of another. Many-to-many challenges (`m2m_...`): two breeds share two places,
and are tested in those of the two others. All test images conflict with the bias.

All protocols hold out a random fifth of the training images of every class for validation, as the authors do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from debiaslab.core.settings import known_as, setting
from debiaslab.datasets.base import BiasedDataset, Source
from debiaslab.datasets.image_files import LabelledFiles, image_files
from debiaslab.datasets.photographs import Photographs

BREEDS = ("bulldog", "dachshund", "labrador", "corgi")  # in the order of the places below
TOTAL = 3_168  # images of each breed in each place of an environment
OWN = (3_072, 2_756)  # one-to-one, training images in the breed's own place: 97 and 87 %, by environment
SWAPPED = (1, 0, 3, 2)  # many-to-many: whose place a breed takes in the second environment
CHALLENGES = {  # places of training and of testing, by breed; the common place of one-to-one challenges
    "o2o_easy": (("desert", "jungle", "dirt", "snow"), ("dirt", "snow", "desert", "jungle"), "beach"),
    "o2o_medium": (("mountain", "beach", "dirt", "jungle"), ("jungle", "dirt", "beach", "snow"), "desert"),
    "o2o_hard": (("jungle", "mountain", "snow", "desert"), ("mountain", "snow", "desert", "jungle"), "beach"),
    "m2m_easy": (("desert", "mountain", "dirt", "jungle"), ("dirt", "jungle", "mountain", "desert"), None),
    "m2m_medium": (("beach", "snow", "mountain", "desert"), ("desert", "mountain", "beach", "snow"), None),
    "m2m_hard": (("dirt", "jungle", "snow", "beach"), ("snow", "beach", "dirt", "jungle"), None),
}
VALID_SHARE = 0.2
PAGE = "https://github.com/aengusl/spawrious: the archive of the challenge, or of the entire data set, unpacked"

Part = tuple[str, str, str, int]  # environment, place, breed, number of images


@dataclass(frozen=True, kw_only=True)
class Spawrious(Photographs):
    NAME = "spawrious"
    CLASSES = ("bulldog", "corgi", "dachshund", "labrador")
    BIASES = ("desert", "jungle", "dirt", "mountain", "snow", "beach")
    NUM_TRAIN = 20_276
    NUM_IMAGES = {"train": 20_276, "valid": 5_068, "test": 25_344}
    CROP = None
    IID_VALID = True
    SIZE = "about 152,000 images, of which a challenge needs 50,688: 7.6 GB decoded"
    LICENCE = "CC BY 4.0"

    challenge: str = setting(
        "o2o_hard",
        "o2o_easy, o2o_medium, o2o_hard (one-to-one), m2m_easy, m2m_medium, m2m_hard (many-to-many)",
        known_as("challenge", CHALLENGES, "data."),
        label=True,
    )
    augment: str = "resized_crop"

    @property
    def folder(self) -> Path:
        return Path(self.root) / "spawrious224"

    def sources(self) -> list[Source]:
        content = f"{{0,1}}/<place>/<breed>/*.png; here the places of {self.challenge}"
        return [Source(self.folder, content, PAGE)]

    def files(self) -> dict[str, LabelledFiles]:
        train, valid = self._listed(self._training_parts()).hold_out(VALID_SHARE, self.seed)
        return {"train": train, "valid": valid, "test": self._listed(self._test_parts())}

    def load(self) -> BiasedDataset:
        aligned = torch.zeros(len(self.CLASSES), len(self.BIASES), dtype=torch.bool)
        for environment in (0, 1):
            for breed, place in zip(BREEDS, self._places(0, environment), strict=True):
                aligned[self.CLASSES.index(breed), self.BIASES.index(place)] = True
        return replace(super().load(), aligned=aligned)

    def _places(self, part: int, environment: int) -> Sequence[str]:
        """The place of each breed in training (`part` 0) or testing (1)."""
        places = CHALLENGES[self.challenge][part]
        assert places is not None
        many_to_many = CHALLENGES[self.challenge][2] is None
        return [places[index] for index in SWAPPED] if many_to_many and environment else list(places)

    def _training_parts(self) -> Iterator[Part]:
        common = CHALLENGES[self.challenge][2]
        for environment in (0, 1):
            own = TOTAL if common is None else OWN[environment]
            for breed, place in zip(BREEDS, self._places(0, environment), strict=True):
                yield "0" if common is None else str(environment), place, breed, own
                if common is not None:
                    yield str(environment), common, breed, TOTAL - own

    def _test_parts(self) -> Iterator[Part]:
        common = CHALLENGES[self.challenge][2]
        for environment in (0, 1):
            for breed, place in zip(BREEDS, self._places(1, environment), strict=True):
                yield "0" if common is None else str(environment), place, breed, TOTAL

    def _listed(self, parts: Iterator[Part]) -> LabelledFiles:
        """The first images of each part, by name."""
        files: list[Path] = []
        target: list[int] = []
        bias: list[int] = []
        for environment, place, breed, count in parts:
            found = image_files(self.folder / environment / place / breed, levels=0)[:count]
            files += found
            target += [self.CLASSES.index(breed)] * len(found)
            bias += [self.BIASES.index(place)] * len(found)
        return LabelledFiles(self.folder, files, target, bias)
