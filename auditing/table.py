"""`audit.csv`: a line for each image. `inferred.csv`: images with their inferred bias, for the data set `custom`."""

import csv
import os
from pathlib import Path

from debiaslab.auditing.findings import Findings
from debiaslab.auditing.images import SPLITS
from debiaslab.core.files import atomic_write
from debiaslab.datasets.csv_columns import INFERRED_BIAS

AUDIT, INFERRED = "audit.csv", "inferred.csv"
COLUMNS = ("target", "split", "score", INFERRED_BIAS, "proposed", "cluster", "label_error", "duplicate")


def write_audit(folder: Path, found: Findings) -> Path:
    """Write every image with what is found of it; the images with the highest scores of a split first."""
    images, verdict = found.images, found.verdict
    first = "path" if images.files is not None else "row"
    order = sorted(range(len(images)), key=lambda place: (int(images.split[place]), -float(found.scores.score[place])))
    path = folder / AUDIT
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([first, *COLUMNS])
        for place in order:
            writer.writerow(
                [
                    image_name(found, folder, place),
                    images.class_names[int(images.target[place])],
                    SPLITS[int(images.split[place])],
                    f"{float(found.scores.score[place]):.4f}",
                    images.class_names[int(verdict.inferred_bias[place])] if verdict.found else "",
                    int(verdict.conflicting[place]),
                    _number(int(found.cluster[place])),
                    int(verdict.label_error[place]),
                    _number(int(images.duplicate[place])),
                ]
            )
    return path


def has_inferred(found: Findings) -> bool:
    """Whether there are inferred bias labels that `custom` can read: with files and a shortcut."""
    return found.verdict.found and found.images.files is not None


def write_inferred(folder: Path, found: Findings) -> Path:
    """Write path, target, inferred bias and split, as `custom` reads them; only for what `has_inferred`."""
    images, verdict = found.images, found.verdict
    path = folder / INFERRED
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "target", INFERRED_BIAS, "split"])
        for place in range(len(images)):
            labels = (images.target[place], verdict.inferred_bias[place])
            names = [images.class_names[int(label)] for label in labels]
            writer.writerow([image_name(found, folder, place), *names, SPLITS[int(images.split[place])]])
    return path


def image_name(found: Findings, folder: Path, place: int) -> str:
    """The image's file, relative to `folder`; where it has none, its row in the split."""
    if found.images.files is None:
        return str(int(found.images.row[place]))
    return os.path.relpath(found.images.files[place].absolute(), folder.absolute())


def _number(value: int) -> str:
    """Empty for none."""
    return "" if value < 0 else str(value)
