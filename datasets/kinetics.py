"""Kinetics and Mimetics as used by ReBias (Bahng et al., ICML 2020): actions, biased by their typical scenes.

The training videos are those of Kinetics-400 (Kay et al., 2017) of the 50 classes of Mimetics (Weinzaepfel and Rogez,
IJCV 2021), or of every fifth class. Two test splits: `test` ("unbiased"), the videos of Mimetics, where actions are
mimed outside of their typical scenes, and `kinetics` ("biased"), the validation videos of Kinetics. There are no bias
labels, so only plain accuracies are reported.

Protocols: `published` has no validation videos (the paper reports the last epoch); `holdout` and `iid` hold out a
tenth of the training videos of every class for validation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write
from debiaslab.core.randomness import torch_generator
from debiaslab.core.settings import between, setting
from debiaslab.datasets.augmentation import JitteredCropAndFlip
from debiaslab.datasets.base import BiasedDataset, DatasetConfig, SelectionImages, Source
from debiaslab.datasets.cache import cache_folder, fingerprint
from debiaslab.datasets.clips import ClipReader
from debiaslab.datasets.image_files import missing
from debiaslab.datasets.splits import UNKNOWN_BIAS, ImagesOnFile, Split
from debiaslab.datasets.video_files import FoundVideos, find_videos
from debiaslab.datasets.videos import Broken, Video, index_videos

VERSION = 1  # increment it whenever the result changes
HELD_OUT = 0.1  # fraction of the training videos of every class that `holdout` validates on
VIEWS = 10  # clips per video whose predictions are averaged in evaluation
STATISTICS = ((0.45,) * 3, (0.225,) * 3)  # mean and standard deviation of each channel

MIMETICS: tuple[str, ...] = tuple(json.loads((Path(__file__).parent / "mimetics.json").read_text())["classes"])

# split -> description for the user
CONTENT = {
    "train": "training videos of Kinetics",
    "test": "videos of Mimetics, unbiased",
    "kinetics": "validation videos of Kinetics, biased",
}
# split -> names of the annotation file (the first that exists is used), and the file's names for the split
ANNOTATIONS = {
    "train": (("train.csv", "train.json", "kinetics-400.json"), ("train", "training")),
    "test": (("mimetics_v1.0.csv",), ("test",)),
    "kinetics": (
        ("val.csv", "validate.csv", "val.json", "validate.json", "kinetics-400.json"),
        ("val", "validate", "validation"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Kinetics50(DatasetConfig):
    SIZE = "the videos of its classes only; they are decoded while training, and not kept"
    LICENCE = "annotations CC BY 4.0 (Kinetics); the videos are their owners'"
    NAME: ClassVar[str] = "kinetics50"
    KIND: ClassVar[str] = "clips"
    CLASSES: ClassVar[tuple[str, ...]] = MIMETICS

    cache: str | None = setting(None, "folder of the index of the videos; None: <root>/cache", place=True)
    image_size: int = setting(
        256,
        "height and width of clips in evaluation, in pixels; training crops have 7/8 of it",
        between(8, 4096),
    )
    frames: int = setting(8, "frames per clip", between(1, 1000))
    stride: int = setting(
        8, "distance between the frames of a clip, in frames at 30 frames per second", between(1, 1000)
    )

    @property
    def folders(self) -> dict[str, Path]:
        """The folder of each split."""
        kinetics, mimetics = Path(self.root) / "kinetics", Path(self.root) / "mimetics"
        data = mimetics / "data"  # where the authors' code puts the class folders
        return {"train": kinetics / "train", "test": data if data.is_dir() else mimetics, "kinetics": kinetics / "val"}

    def sources(self) -> list[Source]:
        root, folders = Path(self.root), self.folders
        kinetics = "Kinetics-400, for instance by https://github.com/cvdfoundation/kinetics-dataset"
        mimetics = "https://europe.naverlabs.com/research/computer-vision/mimetics/"
        listing = "list of the videos that should exist (optional)"
        return [
            Source(folders["train"], "training videos of Kinetics-400, a folder for each class", kinetics),
            Source(root / "kinetics" / "train.csv", listing, kinetics, required=False),
            Source(folders["kinetics"], "validation videos of Kinetics-400, a folder for each class", kinetics),
            Source(root / "kinetics" / "val.csv", listing, kinetics, required=False),
            Source(folders["test"], "videos of Mimetics, a folder for each class", mimetics),
            Source(root / "mimetics" / "mimetics_v1.0.csv", listing, mimetics, required=False),
        ]

    def selection_images(self) -> SelectionImages:
        return SelectionImages(knows_bias=False, has_valid=self.protocol != "published")

    def load(self) -> BiasedDataset:
        cache = cache_folder(self.root, self.cache)
        found = {name: self._find(name) for name in CONTENT}
        parts = {name: _read(found[name], cache) for name in CONTENT}
        train = parts["train"]
        held_out = self._held_out(train.target)
        kept, chosen = (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
        size = self.image_size
        return BiasedDataset(
            name=self.NAME,
            train=self._split(train, in_training=True).select(kept),
            valid=self._split(train).select(chosen) if len(chosen) else None,
            test=self._split(parts["test"]),
            num_classes=len(self.CLASSES),
            num_biases=1,
            fingerprint=fingerprint(
                version=VERSION,
                videos={name: [video.checksum for video in part.videos] for name, part in parts.items()},
                targets={name: part.target.tolist() for name, part in parts.items()},
                held_out=chosen.tolist(),
                clips=(self.image_size, self.frames, self.stride),
            ),
            extra={"kinetics": self._split(parts["kinetics"])},
            normalize=STATISTICS,
            augment=JitteredCropAndFlip(train.sizes[kept], size * 7 // 8, size, size * 5 // 4),
            notes=_notes(self.NAME, parts, cache),
            class_names=self.CLASSES,
        )

    def _find(self, split: str) -> FoundVideos:
        """Find the video files of a split. Raises `UserError` for a missing folder."""
        folder = self.folders[split]
        if not folder.is_dir():
            raise missing(folder, self.NAME, self.root)
        names, subsets = ANNOTATIONS[split]
        base = folder if split == "test" and folder.name != "data" else folder.parent
        places = [base / name for name in names] + [base / "annotations" / name for name in names]
        annotation = next((path for path in places if path.is_file()), None)
        return find_videos(folder, self.CLASSES, annotation, subsets)

    def _split(self, part: "Part", in_training: bool = False) -> Split:
        bias = torch.full_like(part.target, UNKNOWN_BIAS)
        reader = ClipReader(part.videos, self.image_size, self.frames, self.stride, center=not in_training)
        return Split(
            ImagesOnFile(reader, torch.arange(len(bias))), part.target, bias, views=1 if in_training else VIEWS
        )

    def _held_out(self, target: Tensor) -> Tensor:
        """bool [N], True for the training videos to hold out for validation."""
        held_out = torch.zeros(len(target), dtype=torch.bool)
        if self.protocol == "published":
            return held_out
        for label, name in enumerate(self.CLASSES):
            members = (target == label).nonzero()[:, 0]
            if len(members) == 1:
                raise UserError(
                    f"{self.folders['train'] / name}: one video, too few to keep any for validation;"
                    " get more, or validate on none with data.protocol=published"
                )
            order = torch.randperm(len(members), generator=torch_generator(self.seed, "hold out", name))
            held_out[members[order[: max(1, round(len(members) * HELD_OUT))]]] = True
        return held_out


@dataclass(frozen=True, kw_only=True)
class Kinetics10(Kinetics50):
    NAME: ClassVar[str] = "kinetics10"
    CLASSES: ClassVar[tuple[str, ...]] = MIMETICS[4::5]


@dataclass(frozen=True)
class Part:
    """The intact videos of a split with their targets int64 [N], and the broken ones, which are left out."""

    found: FoundVideos
    videos: Sequence[Video]
    target: Tensor
    broken: Sequence[Broken]

    @property
    def sizes(self) -> Tensor:
        """int64 [N, 2], height and width of each video."""
        return torch.tensor([[video.height, video.width] for video in self.videos])


def _read(found: FoundVideos, cache: Path) -> Part:
    """Index the video files. Raises `UserError` for a class without an intact video."""
    videos: list[Video] = []
    broken: list[Broken] = []
    targets: list[int] = []
    for label, (class_name, files) in enumerate(found.files.items()):
        whole, others = index_videos(cache, f"kinetics-{class_name}", files)
        if not whole:
            raise UserError(
                f"no video of the class {class_name} in {found.folder} is intact ({others[0].path.name}:"
                f" {others[0].problem}); download them again"
            )
        videos += whole
        broken += others
        targets += [label] * len(whole)
    return Part(found, videos, torch.tensor(targets), broken)


def _notes(name: str, parts: Mapping[str, Part], cache: Path) -> tuple[str, ...]:
    """Notes on the number of videos in each split, and of videos left out, which are listed in a file."""
    notes, left_out = [], []
    for split, part in parts.items():
        counts = [f"{len(part.videos):,} {CONTENT[split]}"]
        absent, unlisted = part.found.missing, part.found.unlisted
        counts.append("no list of the expected videos" if absent is None else f"{len(absent):,} missing")
        counts.append(f"{len(part.broken):,} broken")
        counts += [f"{len(unlisted):,} not listed"] if unlisted else []
        notes.append(f"{name} {split}: {', '.join(counts)}")
        left_out += [f"missing: {path}" for path in absent or ()]
        left_out += [f"{broken.problem}: {broken.path}" for broken in part.broken]
        left_out += [f"not listed: {path}" for path in unlisted]
    if left_out:
        text = "".join(f"{line}\n" for line in left_out)
        path = cache / f"{name}-left-out-{fingerprint(text=text)}.txt"
        if not path.exists():
            with atomic_write(path) as temporary:
                temporary.write_text(text)
        notes.append(f"{name}: the {len(left_out):,} videos left out are listed in {path}")
    return tuple(notes)
