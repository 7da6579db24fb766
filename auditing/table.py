"""`audit.csv` has a row for each image; `inferred.csv` has inferred bias labels, for the data set `custom`."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from debiaslab.auditing.findings import Findings
from debiaslab.auditing.images import SPLITS
from debiaslab.core.files import atomic_write
from debiaslab.datasets.csv_columns import INFERRED_BIAS

AUDIT, INFERRED = "audit.csv", "inferred.csv"
COLUMNS = ("target", "split", "score", INFERRED_BIAS, "proposed", "cluster", "label_error", "duplicate")


def write_audit(folder: Path, findings: Findings) -> Path:
    """Write a row for each image; each split in order of decreasing score. Returns the file."""
    images, verdict, score = findings.images, findings.verdict, findings.scores.score
    order = sorted(range(len(images)), key=lambda index: (int(images.split[index]), -float(score[index])))
    rows = (
        [
            image_name(findings, folder, index),
            images.class_names[int(images.target[index])],
            SPLITS[int(images.split[index])],
            f"{float(score[index]):.4f}",
            images.class_names[int(verdict.inferred_bias[index])] if verdict.found else "",
            int(verdict.conflicting[index]),
            _number_or_empty(int(findings.cluster[index])),
            int(verdict.label_error[index]),
            _number_or_empty(int(images.duplicate[index])),
        ]
        for index in order
    )
    return _write_csv(folder / AUDIT, ["row" if images.files is None else "path", *COLUMNS], rows)


def has_inferred(findings: Findings) -> bool:
    """Whether there are inferred bias labels that `custom` can read: a shortcut was found, and images are files."""
    return findings.verdict.found and findings.images.files is not None


def write_inferred(folder: Path, findings: Findings) -> Path:
    """Write path, target, inferred bias and split of each image, as `custom` reads them. Returns the file.

    Only if `has_inferred`.
    """
    images, names = findings.images, findings.images.class_names
    rows = (
        [
            image_name(findings, folder, index),
            names[int(images.target[index])],
            names[int(findings.verdict.inferred_bias[index])],
            SPLITS[int(images.split[index])],
        ]
        for index in range(len(images))
    )
    return _write_csv(folder / INFERRED, ["path", "target", INFERRED_BIAS, "split"], rows)


def image_name(findings: Findings, folder: Path, index: int) -> str:
    """The image's path relative to `folder`; its row in the split if images are not files."""
    if findings.images.files is None:
        return str(int(findings.images.row[index]))
    return os.path.relpath(findings.images.files[index].absolute(), folder.absolute())


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def _number_or_empty(number: int) -> str:
    return "" if number < 0 else str(number)
