"""UrbanCars (Li et al., CVPR 2023): urban and country cars, with two biases, the background and a co-occurring object.

In the training images 95 % of the backgrounds and 95 % of the objects, independently, are of the kind of the car; in
the validation and test images half of them. `holdout` and `published` use these splits; `iid` holds out training images
instead of the published validation images.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch

from debiaslab.core.settings import between, setting
from debiaslab.datasets.base import BiasedDataset, Source
from debiaslab.datasets.image_files import LabelledFiles, images_in_folders, require_known_folders
from debiaslab.datasets.photographs import Photographs

KINDS = ("urban", "country")  # of cars, backgrounds and objects
SHARES = (0.95, 0.95)  # of the usual background, and of the usual object, among the training images
PARTS = {
    "train": "bg-0.95_co_occur_obj-0.95/train",
    "valid": "bg-0.5_co_occur_obj-0.5/val",
    "test": "bg-0.5_co_occur_obj-0.5/test",
}
FOLDERS = {  # (target, bias) of the images; the bias is 2 * background + object
    f"obj-{car}_bg-{background}_co_occur_obj-{thing}": (
        KINDS.index(car),
        2 * KINDS.index(background) + KINDS.index(thing),
    )
    for car, background, thing in product(KINDS, repeat=3)
}
PAGE = (
    "https://github.com/facebookresearch/Whac-A-Mole, create_datasets/urbancars: its authors may not share the images"
)


@dataclass(frozen=True, kw_only=True)
class UrbanCars(Photographs):
    NAME = "urbancars"
    CLASSES = KINDS
    BIASES = tuple(f"{background} background, {thing} object" for background, thing in product(KINDS, repeat=2))
    NUM_TRAIN = 8_000
    NUM_IMAGES = {"train": 8_000, "valid": 1_000, "test": 1_000}
    CROP = None
    SIZE = "10,000 images, 2.0 GB decoded"
    LICENCE = "that of Stanford Cars, Places and LVIS, which you make it from; for non-commercial research"

    image_size: int = setting(256, "height and width of the network's input, in pixels", between(1, 4096))
    augment: str = "flip"

    @property
    def folder(self) -> Path:
        return Path(self.root) / "urbancars"

    def sources(self) -> list[Source]:
        return [
            Source(self.folder / part, f"{self.NUM_IMAGES[name]:,} images, obj-*_bg-*_co_occur_obj-*/*.jpg", PAGE)
            for name, part in PARTS.items()
        ]

    def files(self) -> dict[str, LabelledFiles]:
        found = {}
        for name, part in PARTS.items():
            require_known_folders(self.folder / part, "group of UrbanCars", FOLDERS)
            found[name] = images_in_folders(self.folder / part, FOLDERS)
        return found

    def load(self) -> BiasedDataset:
        aligned = torch.zeros(2, 4, dtype=torch.bool)
        aligned[[0, 1], [0, 3]] = True  # background and object of the kind of the car
        return replace(super().load(), aligned=aligned, attribute_sizes=(2, 2), usual_shares=SHARES)
