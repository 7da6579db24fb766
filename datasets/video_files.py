"""Folders of videos, one per class, and the annotation files that list the videos.

A video file is named `<youtube id>_<start>_<end>` (seconds, six digits each) or `<youtube id>`, followed by any
extension.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debiaslab.core.errors import UserError
from debiaslab.datasets.videos import SUFFIXES

COLUMNS = ("label", "youtube_id", "time_start", "time_end")  # of a CSV; others may follow

# class -> name of a video, with its start and end -> its YouTube id
Listed = dict[str, dict[str, str]]


@dataclass(frozen=True)
class FoundVideos:
    """The videos of one split in `folder`: `files` by class.

    `missing` are the listed videos that do not exist, None without an annotation; `unlisted` are the files that the
    annotation does not list.
    """

    folder: Path
    files: Mapping[str, Sequence[Path]]
    missing: Sequence[str] | None
    unlisted: Sequence[Path]


def find_videos(folder: Path, classes: Sequence[str], annotation: Path | None, subsets: Collection[str]) -> FoundVideos:
    """Find the videos of `classes` in `<folder>/<class>`, with underscores or spaces in the name of the class.

    With an `annotation`, only those that it lists for one of `subsets` or without a subset; these may also be in
    `folder` itself. Raises `UserError` for unreadable files and folders, and for a class without videos.
    """
    files = _videos_of_classes(folder, classes)
    missing: list[str] | None = None
    unlisted: list[Path] = []
    if annotation is not None:
        listed, loose, missing = read_annotation(annotation, subsets), _videos(folder), []
        for name in classes:
            there = loose | files[name]
            kept = _kept(there, listed.get(name, {}))
            missing += [f"{folder / name / key}" for key in listed.get(name, {}) if key not in kept]
            unlisted += sorted(set(files[name].values()) - set(kept.values()))
            files[name] = kept
    for name in classes:
        if not files[name]:
            listing = "" if annotation is None else f" that {annotation} lists"
            raise UserError(f"no video of the class {name}{listing} in {folder}; put them into {folder / name}")
    return FoundVideos(folder, {name: sorted(files[name].values()) for name in classes}, missing, unlisted)


def _kept(there: Mapping[str, Path], listed: Mapping[str, str]) -> dict[str, Path]:
    """The files of the `listed` videos among those that exist (`there`), by the listed name."""
    clips = Counter(listed.values())
    kept = {}
    for name, youtube_id in listed.items():
        path = there.get(name) or (there.get(youtube_id) if clips[youtube_id] == 1 else None)
        if path is not None:
            kept[name] = path
    return kept


# ---- folders


def _videos_of_classes(folder: Path, classes: Sequence[str]) -> dict[str, dict[str, Path]]:
    files: dict[str, dict[str, Path]] = {name: {} for name in classes}
    for entry in _entries(folder):
        name = _plain(entry.name)
        if name in files and entry.is_dir():
            _add(files[name], _videos(entry))
    return files


def _videos(folder: Path) -> dict[str, Path]:
    """The videos in `folder`, by their names up to the first dot."""
    videos: dict[str, Path] = {}
    for path in _entries(folder):
        if path.suffix.lower() in SUFFIXES:
            _add(videos, {path.name.split(".")[0]: path})
    return videos


def _add(videos: dict[str, Path], others: Mapping[str, Path]) -> None:
    for name in videos.keys() & others.keys():
        raise UserError(f"{videos[name]} and {others[name]} are the same video; remove one of them")
    videos.update(others)


def _entries(folder: Path) -> list[Path]:
    """The entries of `folder`, sorted, without hidden files."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; check its permissions") from None


def _plain(label: str) -> str:
    """The name of a class with underscores."""
    return label.strip().replace(" ", "_")


# ---- annotations


def read_annotation(path: Path, subsets: Collection[str]) -> Listed:
    """Read the videos that `path` lists for one of `subsets` or without a subset.

    A CSV has at least `COLUMNS`, and may have `split`; a JSON file has an object for each video, keyed by its name or
    YouTube id, with `annotations.label`, `annotations.segment` and `subset`, at top level or in `database`. Raises
    `UserError` for a file that is neither, and for a video that is listed twice.
    """
    listed: Listed = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _json_rows(json.load(file)) if path.suffix == ".json" else _csv_rows(csv.DictReader(file))
            for label, name, youtube_id, subset in rows:
                if subset in subsets or not subset:
                    videos = listed.setdefault(_plain(label), {})
                    if name in videos:
                        raise UserError(f"{path} lists {name} twice for the class {label}; remove one of them")
                    videos[name] = youtube_id
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    except (csv.Error, ValueError, KeyError, TypeError, AttributeError):
        columns = ",".join(COLUMNS)
        raise UserError(
            f"{path} is not an annotation of Kinetics: a CSV with the columns {columns} or a JSON file;"
            " download it again, or remove it to use all existing videos"
        ) from None
    return listed


Row = tuple[str, str, str, str]  # label, name of the video, YouTube id, subset


def _csv_rows(reader: "csv.DictReader[str]") -> Iterator[Row]:
    for row in reader:
        label, youtube_id, *times = (row[column] for column in COLUMNS)
        yield label, _clip_name(youtube_id, times), youtube_id, row.get("split") or ""


def _json_rows(content: Any) -> Iterator[Row]:
    for name, video in content.get("database", content).items():
        clip = re.fullmatch(r"(.+)_\d{6}_\d{6}", name)
        label = video["annotations"].get("label")
        if label is None:  # in a test set
            continue
        segment = video["annotations"].get("segment")
        full_name = name if clip or not segment else _clip_name(name, segment)
        yield label, full_name, clip[1] if clip else name, video.get("subset") or ""


def _clip_name(youtube_id: str, times: Sequence[str | float]) -> str:
    start, end = (int(float(time)) for time in times)
    return f"{youtube_id}_{start:06}_{end:06}"
