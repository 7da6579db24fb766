"""Folders of image files with labels in the file names."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from debiaslab.core.errors import UserError, require_known
from debiaslab.datasets.base import inspect_command
from debiaslab.datasets.cache import fingerprint
from debiaslab.datasets.groups import share_of_every_group
from debiaslab.datasets.pixels import MappedImages
from debiaslab.datasets.splits import ImagesOnFile, Split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
JUNK = ("thumbs.db", "desktop.ini", "__macosx")  # created by operating systems, apart from hidden files


@dataclass(frozen=True)
class LabelledFiles:
    """The image files of a split, with target and bias labels."""

    folder: Path
    files: Sequence[Path]
    target: Sequence[int]
    bias: Sequence[int]

    def select(self, rows: Sequence[int]) -> "LabelledFiles":
        """The images at `rows`, in that order."""
        target, bias = ([labels[row] for row in rows] for labels in (self.target, self.bias))
        return LabelledFiles(self.folder, [self.files[row] for row in rows], target, bias)

    def hold_out(self, share: float, seed: int) -> tuple["LabelledFiles", "LabelledFiles"]:
        """(kept, held out): a random `share` of the images of every class, whatever their bias, is held out.

        Raises `UserError` if there are too few for both.
        """
        chosen = share_of_every_group(torch.tensor(self.target), share, seed)
        if not bool(chosen.any()) or bool(chosen.all()):
            raise UserError(f"{self.folder}: too few training images to keep some for validation")
        kept, held_out = (self.select(mask.nonzero()[:, 0].tolist()) for mask in (~chosen, chosen))
        return kept, held_out

    def split(self, images: MappedImages) -> Split:
        """Build the split; `images` are decoded from `files` in the same order."""
        return Split(
            ImagesOnFile(images, torch.arange(len(self.files))), torch.tensor(self.target), torch.tensor(self.bias)
        )


def missing(path: Path, dataset: str, root: str) -> UserError:
    """The error for a missing file or folder of a data set that should be in the folder `root`."""
    advice = inspect_command(dataset, root)
    return UserError(f"{path} is not there; type `{advice}` for what to get and where to put it")


def image_files(folder: Path, levels: int = 1) -> list[Path]:
    """List the images in `folder` and `levels` of subfolders, sorted by path, without hidden files and `JUNK`.

    Raises `UserError` for other files, deeper folders, a folder that cannot be read, and if there are no images.
    """
    files = sorted(_walk(folder, levels), key=Path.as_posix)
    if not files:
        raise UserError(f"{folder}: no image; put the images of the download there")
    return files


def _walk(folder: Path, levels: int) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; check data.root") from None
    for entry in entries:
        if _is_junk(entry.name):
            continue
        if entry.suffix.lower() in SUFFIXES:
            yield entry
        elif entry.is_dir() and levels:
            yield from _walk(entry, levels - 1)
        else:
            raise UserError(f"{entry} is not an image ({', '.join(SUFFIXES)}); move it out of {folder}")


def images_in_folders(folder: Path, labels: Mapping[str, tuple[int, int]]) -> LabelledFiles:
    """The images in the subfolders of `folder` that `labels` names, with (target, bias) of each; in this order.

    Raises `UserError` for a subfolder that is missing or has no images, as `image_files` does.
    """
    found = [(image_files(folder / name, levels=0), pair) for name, pair in labels.items()]
    return LabelledFiles(
        folder,
        [path for files, _ in found for path in files],
        [target for files, (target, _) in found for _ in files],
        [bias for files, (_, bias) in found for _ in files],
    )


def require_known_folders(folder: Path, kind: str, names: Iterable[str]) -> None:
    """Raise `UserError` for a subfolder of `folder` that is none of `names`; `kind` is what they stand for."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not _is_junk(path.name):
            require_known(kind, path.name, names, prefix=f"{folder}/")


def walk_files(folder: Path, follow_links: bool) -> Iterator[Path]:
    """Yield all files in `folder` and below, except hidden ones and `JUNK`; in linked folders if `follow_links`.

    Raises `UserError` for a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; check its permissions") from None

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=follow_links):
        folders[:] = [name for name in folders if not _is_junk(name)]
        yield from (Path(place) / name for name in names if not _is_junk(name))


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def name_numbers(path: Path) -> tuple[int, int]:
    """The last two numbers of a file name `<id>_<number>_<number>`. Raises `UserError` for any other name."""
    fields = path.stem.split("_")
    if len(fields) < 3 or not all(field.isascii() and field.isdecimal() for field in fields[-2:]):
        raise UserError(f"{path}: the name must end in _TARGET_BIAS, two class indices; rename or remove the file")
    return int(fields[-2]), int(fields[-1])


def require_label(label: int, num_labels: int, kind: str, path: Path) -> None:
    """Raise `UserError` unless the label in the name of `path` (`kind`: target or bias) is a class index."""
    if label >= num_labels:
        raise UserError(f"{path}: {kind} {label} in its name, must be 0 to {num_labels - 1}; rename or remove the file")


def require_class_folder(path: Path, folder: Path, target: int) -> None:
    """Raise `UserError` if `path` is in a subfolder of `folder` whose name is the index of another class."""
    name = path.parent.name
    if path.parent != folder and name.isascii() and name.isdecimal() and int(name) != target:
        raise UserError(f"{path}: target {target} in its name, but in the folder of class {name}; move or rename it")


def require_every_class(part: LabelledFiles, num_classes: int) -> None:
    """Raise `UserError` unless every class has an image."""
    absent = sorted(set(range(num_classes)) - set(part.target))
    if absent:
        raise UserError(
            f"{part.folder}: no image of target class {absent[0]} (of {num_classes}); complete the download"
        )


def require_conflicting(part: LabelledFiles, num_classes: int) -> None:
    """Raise `UserError` unless every class has a bias-conflicting image."""
    having = {target for target, bias in zip(part.target, part.bias, strict=True) if target != bias}
    absent = sorted(set(range(num_classes)) - having)
    if absent:
        raise UserError(
            f"{part.folder}: no bias-conflicting image of target class {absent[0]} (of {num_classes});"
            " complete the download"
        )


def content_fingerprint(version: int, splits: Mapping[str, Split]) -> str:
    """The fingerprint of splits of decoded images, from their pixels, rows and labels."""
    content = {}
    for name, split in splits.items():
        images = split.images
        assert isinstance(images, ImagesOnFile)
        assert isinstance(images.reader, MappedImages)
        values = torch.stack([images.rows, split.target, split.bias]).numpy()
        content[name] = [images.reader.identity, hashlib.sha256(values.tobytes()).hexdigest()]
    return fingerprint(version=version, splits=content)
