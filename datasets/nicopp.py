"""NICO++ (Zhang et al., CVPR 2023), its 60 classes in the six common contexts of track 1.

As in SubpopBench (Yang et al., ICML 2023): of each (class, context), up to 75 images are for evaluation, a third of
them for validation and the others for testing; training has the rest. The bias is the context; no context is the usual
one of a class, so that there are no aligned or conflicting groups. `iid` holds out training images for validation.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets.base import BiasedDataset, Source
from debiaslab.datasets.image_files import LabelledFiles, images_in_folders, require_known_folders
from debiaslab.datasets.photographs import Photographs

EVALUATED = 75  # images of each group, at most
SEED = 666  # of SubpopBench, to which data.seed is added
IMAGES, MAPPING = "public_dg_0416/train", "dg_label_id_mapping.json"
PAGE = "https://github.com/xxgege/NICO-plus: track_1 of its Dropbox folder"


@dataclass(frozen=True, kw_only=True)
class NICOpp(Photographs):
    NAME = "nicopp"
    BIASES = ("autumn", "dim", "grass", "outdoor", "rock", "water")
    SIZE = "about 89,000 images, 13 GB decoded"
    LICENCE = "for research and other non-economic purposes only (its authors)"

    @property
    def folder(self) -> Path:
        """The data folder, or a folder `nicopp` in it."""
        inner = Path(self.root) / "nicopp"
        return inner if inner.is_dir() else Path(self.root)

    def sources(self) -> list[Source]:
        return [
            Source(self.folder / IMAGES, "photographs, <context>/<class>/*.jpg", f"{PAGE}, track_1.zip unpacked"),
            Source(self.folder / MAPPING, "the numbers of the 60 classes", f"{PAGE}, {MAPPING}"),
        ]

    def classes(self) -> tuple[str, ...]:
        """The classes by their numbers in the mapping. Raises `UserError` if it is not one."""
        path = self.folder / MAPPING
        try:
            numbers = json.loads(path.read_bytes())
            names = {int(number): str(name) for name, number in numbers.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: cannot read class numbers ({error}); download it again") from None
        if not names or sorted(names) != list(range(len(numbers))):
            raise UserError(f"{path}: the numbers of the classes are not 0, 1, 2, ...; download it again")
        return tuple(names[number] for number in sorted(names))

    def files(self) -> dict[str, LabelledFiles]:
        folder, classes = self.folder / IMAGES, self.classes()
        require_known_folders(folder, "context of NICO++", self.BIASES)
        for context in self.BIASES:
            require_known_folders(folder / context, "class of NICO++", classes)
        groups = {
            f"{context}/{name}": (target, bias)
            for bias, context in enumerate(self.BIASES)
            for target, name in enumerate(classes)
            if (folder / context / name).is_dir()
        }
        pooled, generator = images_in_folders(folder, groups), numpy.random.RandomState(SEED + self.seed)
        group = numpy.array(pooled.target) * len(self.BIASES) + numpy.array(pooled.bias)
        rows: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
        for label in numpy.unique(group):
            members = generator.permutation(numpy.flatnonzero(group == label)).tolist()
            evaluated = min(len(members), EVALUATED)
            rows["valid"] += members[: evaluated // 3]
            rows["test"] += members[evaluated // 3 : evaluated]
            rows["train"] += members[evaluated:]
        return {name: pooled.select(sorted(chosen)) for name, chosen in rows.items()}

    def load(self) -> BiasedDataset:
        data = super().load()
        return replace(data, aligned=torch.zeros(data.num_classes, data.num_biases, dtype=torch.bool))
