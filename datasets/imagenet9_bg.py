"""ImageNet-9 of Xiao et al. (ICLR 2021): nine coarse classes, tested on images with other backgrounds.

Not the nine classes of ReBias (`imagenet9.py`). `test` has the original images; other test splits combine their
foregrounds with backgrounds of the same class (`mixed_same`), of a random one (`mixed_rand`), or of the next
(`mixed_next`), or show only one of the two. The BG-gap is the accuracy on `mixed_same` less that on `mixed_rand`. There
are no bias labels.

Protocols: `published` trains on all training images, without validation images; `holdout` and `iid` hold out a tenth of
every class.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from debiaslab.core.errors import UserError
from debiaslab.core.settings import setting
from debiaslab.datasets.base import BiasedDataset, SelectionImages, Source
from debiaslab.datasets.image_files import LabelledFiles, images_in_folders
from debiaslab.datasets.photographs import VALID_SHARE, Photographs
from debiaslab.datasets.preprocessing import Preparation, ResizedCenterCrop
from debiaslab.datasets.splits import UNKNOWN_BIAS

TEST, REQUIRED = "original", ("mixed_same", "mixed_rand")
OPTIONAL = ("mixed_next", "only_fg", "no_fg", "only_bg_b", "only_bg_t")
NUM_SYNSETS = 1_000
CODE = "https://github.com/MadryLab/backgrounds_challenge"


@dataclass(frozen=True, kw_only=True)
class ImageNet9Backgrounds(Photographs):
    NAME = "imagenet9_bg"
    CLASSES = (
        "dog",
        "bird",
        "wheeled vehicle",
        "reptile",
        "carnivore",
        "insect",
        "musical instrument",
        "primate",
        "fish",
    )
    BIASES = ("unknown",)
    SIZE = "4,050 test images a variant, 0.6 GB decoded each; ImageNet is 145 GB to download"
    LICENCE = "for non-commercial research and education only (the terms of ImageNet)"

    imagenet: str = setting(
        "imagenet", "folder of ImageNet's train/, in root or absolute, if in9l is absent", place=True
    )
    augment: str = "resized_crop"

    @property
    def in9l(self) -> Path:
        """The authors' training images, whose links are dead; without them, ImageNet's are used."""
        return Path(self.root) / "in9l" / "train"

    @property
    def class_map(self) -> Path:
        return Path(self.root) / "in_to_in9.json"

    @property
    def synsets(self) -> Path:
        return Path(self.root) / self.imagenet / "train"

    def sources(self) -> list[Source]:
        release = f"the release of {CODE}, unpacked"
        variants = [
            Source(self._variant(name), f"{name}: test images, 0<number>_<class>/*.JPEG", release, name not in OPTIONAL)
            for name in (TEST, *REQUIRED, *OPTIONAL)
        ]
        if self.in9l.is_dir():
            return [Source(self.in9l, "training images, 0<number>_<class>/*.JPEG", "no longer to be had"), *variants]
        imagenet = "https://image-net.org, ILSVRC 2012, after registration"
        return [
            Source(self.synsets, "ImageNet's training images, a folder for each of the 1,000 synsets", imagenet),
            Source(self.class_map, "the class of each synset", f"{CODE}, in_to_in9.json"),
            *variants,
        ]

    def selection_images(self) -> SelectionImages:
        return SelectionImages(knows_bias=False, has_valid=self.protocol != "published")

    def files(self) -> dict[str, LabelledFiles]:
        train = _in_class_folders(self.in9l, self.CLASSES) if self.in9l.is_dir() else self._of_imagenet()
        names = [*REQUIRED, *(name for name in OPTIONAL if self._variant(name).is_dir())]
        found = {"train": train, "test": _in_class_folders(self._variant(TEST), self.CLASSES)}
        found |= {name: _in_class_folders(self._variant(name), self.CLASSES) for name in names}
        if self.protocol == "holdout":
            found["train"], found["valid"] = train.hold_out(VALID_SHARE, self.seed)
        return found

    def preparation(self, split: str) -> Preparation:
        """The test images have 224 x 224 pixels: nothing is cropped."""
        size = self.image_size
        return super().preparation(split) if split in ("train", "valid") else ResizedCenterCrop(size, size)

    def load(self) -> BiasedDataset:
        aligned = torch.zeros(len(self.CLASSES), 1, dtype=torch.bool)
        return replace(super().load(), aligned=aligned, bias_names=None, differences={"bg_gap": REQUIRED})

    def _variant(self, name: str) -> Path:
        return Path(self.root) / "bg_challenge" / name / "val"

    def _of_imagenet(self) -> LabelledFiles:
        """ImageNet's training images of the synsets that the class map gives one of the nine classes."""
        synsets = sorted(path.name for path in self.synsets.iterdir() if path.is_dir())
        if len(synsets) != NUM_SYNSETS:
            raise UserError(
                f"{self.synsets}: {len(synsets):,} synsets, must be {NUM_SYNSETS:,}, for {self.class_map.name} numbers"
                " all of them; unpack the others"
            )
        try:
            numbered = {int(number): int(label) for number, label in json.loads(self.class_map.read_bytes()).items()}
            labels = {synsets[number]: label for number, label in numbered.items() if label >= 0}
        except (OSError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise UserError(f"{self.class_map}: cannot read the classes ({error}); download it again") from None
        if not set(labels.values()) <= set(range(len(self.CLASSES))):
            raise UserError(f"{self.class_map}: a class is not 0 to {len(self.CLASSES) - 1}; download it again")
        return images_in_folders(self.synsets, {name: (label, UNKNOWN_BIAS) for name, label in sorted(labels.items())})


def _in_class_folders(folder: Path, classes: tuple[str, ...]) -> LabelledFiles:
    """The images of the folders 0<number>_<class>. Raises `UserError` for other folders, and if one is missing."""
    labels = {}
    for path in sorted(folder.iterdir()):
        number = path.name.partition("_")[0]
        if not path.is_dir() or path.name.startswith("."):
            continue
        if not (number.isascii() and number.isdecimal() and int(number) < len(classes)):
            raise UserError(f"{path}: must begin with the number of its class, 00_ to 0{len(classes) - 1}_; rename it")
        labels[path.name] = (int(number), UNKNOWN_BIAS)
    return images_in_folders(folder, labels)
