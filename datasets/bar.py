"""Biased Action Recognition (Nam et al., NeurIPS 2020): six actions, each with a typical place, and no bias labels.

All published training images show the typical place, all test images another one. The bias label of an image in the
typical place is its class. Of other places it is only known that they are not typical: their bias label is the next
class, as in the training images of BiasEnsemble (Lee et al., AAAI 2023).

Two layouts are supported: the original one, and BiasEnsemble's folders with their own splits. With the original layout,
`percent` > 0 moves test images into training (`bar_split.py`), and `holdout` validates on others of them. `iid`
validates on a tenth of the training images, with the same test images as `holdout`. `published` is LfF's split
(`percent` 0: all 1,941 training and 654 test images, no validation) or BiasEnsemble's folders.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from debiaslab.core.errors import UserError
from debiaslab.core.settings import between, setting
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.datasets.bar_split import count_moved, read_or_draw_split
from debiaslab.datasets.base import CIFAR10_STATISTICS, BiasedDataset, DatasetConfig, SelectionImages, Source
from debiaslab.datasets.cache import cache_folder
from debiaslab.datasets.declarations import percent_setting
from debiaslab.datasets.folders import ALIGN, BIAS_ENSEMBLE, CONFLICT, VALID_SHARE
from debiaslab.datasets.groups import with_iid_validation
from debiaslab.datasets.image_files import (
    LabelledFiles,
    content_fingerprint,
    image_files,
    missing,
    name_numbers,
    require_class_folder,
    require_conflicting,
    require_every_class,
    require_label,
)
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Stretched
from debiaslab.datasets.splits import UNKNOWN_BIAS, Split

VERSION = 1  # of how splits are made; increment it whenever the result changes
ACTIONS = ("climbing", "diving", "fishing", "racing", "throwing", "pole vaulting")  # in the order of the class indices
PERCENTS = (0.0, 0.5, 1.0, 2.0, 5.0)
FOLDERS = ("BAR", "bar")
NUM_IMAGES = {"train": 1_941, "test": 654}  # of the original layout
ORIGINAL = "https://github.com/alinlab/BAR"

FilesByAction = dict[str, list[Path]]


@dataclass(frozen=True, kw_only=True)
class BAR(DatasetConfig):
    NUM_TRAIN = NUM_IMAGES["train"]
    SIZE = "2,595 images, 0.4 GB decoded at 224 x 224"

    cache: str | None = setting(None, "folder of the decoded images and of the split; None: <root>/cache", place=True)
    percent: float = percent_setting(1.0, PERCENTS, "; 0: none, as published")
    image_size: int = setting(224, "height and width that images are stretched to, in pixels", between(1, 4096))

    @property
    def folder(self) -> Path:
        """`<root>/BAR` or `<root>/bar`. Raises `UserError` if both exist: they may contain different splits."""
        found = [path for path in (Path(self.root) / name for name in FOLDERS) if path.is_dir()]
        if len(found) == 2 and not found[0].samefile(found[1]):
            raise UserError(f"{found[0]} and {found[1]} both exist; keep one of them in data.root={self.root}")
        return found[0] if found else Path(self.root) / FOLDERS[0]

    @property
    def has_layout_of_bias_ensemble(self) -> bool:
        return (self.folder / "train" / ALIGN).is_dir()

    @property
    def conflict_folder(self) -> Path:
        """BiasEnsemble's conflicting training images."""
        return self.folder / "train" / CONFLICT / f"{self.percent:g}pct"

    def sources(self) -> list[Source]:
        if self.has_layout_of_bias_ensemble:
            origin = f"linked on the authors' page: {BIAS_ENSEMBLE}"
            contents = {
                self.folder / "train" / ALIGN: "bias-aligned training images, <class>/<id>_<target>_<number>.jpg",
                self.conflict_folder: "bias-conflicting training images, same names; data.percent selects the folder",
                self.folder / "valid": "validation images, same names",
                self.folder / "test": "test images, same names",
            }
        else:
            origin = f"the repository {ORIGINAL}, or BiasEnsemble's folders, linked on {BIAS_ENSEMBLE}"
            contents = {
                self.folder / name: f"the original's {count:,} {name} images, <action>_<number>.jpg"
                for name, count in NUM_IMAGES.items()
            }
        return [Source(path, content, origin) for path, content in contents.items()]

    def selection_images(self) -> SelectionImages:
        """Depends on the layout: BiasEnsemble's folders have validation images without bias labels."""
        if self.protocol == "published":
            return SelectionImages(knows_bias=True, has_valid=True if self.percent > 0 else None)
        return SelectionImages(knows_bias=None, has_valid=True)

    def load(self) -> BiasedDataset:
        splits = self._splits_of_bias_ensemble() if self.has_layout_of_bias_ensemble else self._splits_of_original()
        data = BiasedDataset(
            name="bar",
            train=splits["train"],
            valid=splits.get("valid"),
            test=splits["test"],
            num_classes=len(ACTIONS),
            num_biases=len(ACTIONS),
            fingerprint=content_fingerprint(VERSION, splits),
            normalize=CIFAR10_STATISTICS,
            augment=CropAndFlip(padding=4),
            class_names=ACTIONS,
            notes=() if self.has_layout_of_bias_ensemble else self._missing_images(),
        )
        return with_iid_validation(data, VALID_SHARE, self.seed) if self.protocol == "iid" else data

    def _decoded(self, name: str, part: LabelledFiles) -> Split:
        folder, prepare = cache_folder(self.root, self.cache), Stretched(self.image_size)
        return part.split(mapped_images(folder, name, part.files, prepare))

    # ---- the original layout

    def _splits_of_original(self) -> dict[str, Split]:
        folders = [self.folder / "train", self.folder / "test"]
        for folder in folders:
            if not folder.is_dir():
                raise missing(folder, "bar", self.root)
        if self.protocol == "published" and self.percent:
            raise UserError(
                f"data.percent={self.percent:g} is not published for the layout of {self.folder}; use"
                " data.protocol=holdout, or data.percent=0 (LfF's split), or get BiasEnsemble's folders"
            )
        train, test = (_by_action(folder) for folder in folders)
        whole = _labelled(self.folder, train, test)
        rows = {path: row for row, path in enumerate(whole.files)}
        parts = {"train": _listed(train), "test": _listed(test)}
        if self.protocol != "published":
            parts = self._with_test_images_split(train, test)
        images = self._decoded("bar", whole)
        return {name: images.select(torch.tensor([rows[path] for path in paths])) for name, paths in parts.items()}

    def _missing_images(self) -> tuple[str, ...]:
        found = {name: len(image_files(self.folder / name, levels=0)) for name in NUM_IMAGES}
        return tuple(
            f"{self.folder / name} has {found[name]:,} images, the original {count:,}: is the download complete?"
            for name, count in NUM_IMAGES.items()
            if found[name] != count
        )

    def _with_test_images_split(self, train: FilesByAction, test: FilesByAction) -> dict[str, list[Path]]:
        names = {action: [path.name for path in paths] for action, paths in test.items()}
        num_aligned = {action: len(paths) for action, paths in train.items()}
        index = cache_folder(self.root, self.cache) / f"bar-split-seed{self.seed}.json"
        split = read_or_draw_split(index, names, num_aligned, self.seed)
        folder = self.folder / "test"
        moved = []
        for action in ACTIONS:
            wanted = count_moved(num_aligned[action], self.percent)
            if wanted > len(split.moved[action]):
                raise UserError(
                    f"{index} moves {len(split.moved[action])} images of {action}, data.percent={self.percent:g} needs"
                    f" {wanted}; use a smaller one, or delete the file to split them again"
                )
            moved += [folder / name for name in split.moved[action][:wanted]]
        return {
            "train": [*_listed(train), *moved],
            "valid": [folder / name for action in ACTIONS for name in split.valid[action]],
            "test": [folder / name for action in ACTIONS for name in split.test[action]],
        }

    # ---- BiasEnsemble's folders

    def _splits_of_bias_ensemble(self) -> dict[str, Split]:
        """The bias labels of validation images are unknown: whether they are aligned is not documented."""
        if not self.percent:
            raise UserError(
                f"data.percent=0 is LfF's split, and {self.folder} has BiasEnsemble's layout;"
                f" use data.percent=1 or 5, or get the original from {ORIGINAL}"
            )
        align = self._files(self.folder / "train" / ALIGN, shift=0)
        conflict = self._files(self.conflict_folder, shift=1)
        require_conflicting(conflict, len(ACTIONS))
        train = LabelledFiles(
            align.folder,
            [*align.files, *conflict.files],
            [*align.target, *conflict.target],
            [*align.bias, *conflict.bias],
        )
        valid = self._files(self.folder / "valid", shift=None)
        test = self._files(self.folder / "test", shift=1)
        parts = {f"train-{self.percent:g}pct": train, "valid": valid, "test": test}
        for part in parts.values():
            require_every_class(part, len(ACTIONS))
        return {name.partition("-")[0]: self._decoded(f"bar-{name}", part) for name, part in parts.items()}

    def _files(self, folder: Path, shift: int | None) -> LabelledFiles:
        """The images <id>_<target>_<number>; their bias label is target + `shift`, or unknown if that is None."""
        if not folder.is_dir():
            raise missing(folder, "bar", self.root)
        files = image_files(folder)
        targets = [name_numbers(path)[0] for path in files]
        for path, target in zip(files, targets, strict=True):
            require_label(target, len(ACTIONS), "target", path)
            require_class_folder(path, folder, target)
        biases = [UNKNOWN_BIAS if shift is None else (target + shift) % len(ACTIONS) for target in targets]
        return LabelledFiles(folder, files, targets, biases)


def _by_action(folder: Path) -> FilesByAction:
    """The images <action>_<number> by action, sorted by number. Raises `UserError` for other names."""
    numbered: dict[str, list[tuple[int, str, Path]]] = {action: [] for action in ACTIONS}
    for path in image_files(folder, levels=0):
        action, _, number = path.stem.rpartition("_")
        if action not in numbered or not (number.isascii() and number.isdecimal()):
            raise UserError(f"{path}: the name must be ACTION_NUMBER, ACTION one of {', '.join(ACTIONS)}; rename it")
        numbered[action].append((int(number), path.name, path))
    for action, paths in numbered.items():
        if not paths:
            raise UserError(f"{folder}: no image of {action}; complete the download")
    return {action: [path for _, _, path in sorted(paths)] for action, paths in numbered.items()}


def _listed(files: FilesByAction) -> list[Path]:
    return [path for action in ACTIONS for path in files[action]]


def _labelled(folder: Path, train: FilesByAction, test: FilesByAction) -> LabelledFiles:
    """All images of both folders; those of train are labelled as aligned, those of test as conflicting."""
    files, targets, biases = [], [], []
    for part, shift in ((train, 0), (test, 1)):
        for target, action in enumerate(ACTIONS):
            files += part[action]
            targets += [target] * len(part[action])
            biases += [(target + shift) % len(ACTIONS)] * len(part[action])
    return LabelledFiles(folder, files, targets, biases)
