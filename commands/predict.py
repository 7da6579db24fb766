"""`python main.py predict RUN with images=FOLDER_OR_CSV [--out FILE]`: predict images with the classifier of a run.

RUN is the id of a complete run, in files or in MongoDB, or its folder; its training data are not needed. FILE is a CSV
with a row per image: path, predicted class and the probability of each class; with branch=, also the branch. Images
that cannot be read are listed and skipped, and the exit code is 1. With features=FILE.npy in place of images, for a run
of features, the first column is the row, counted from 0.

Examples:
  python main.py predict runs/20261130-100339-7c1e with images=photographs
  python main.py predict 20261130-1003 with images=new.csv branch=all --out new_classes.csv
  python main.py predict 20261130-1003 with features=new.npy
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from debiaslab.analysis.records import Record
from debiaslab.commands.named_runs import find_one_run, only_name
from debiaslab.commands.words import read_count, read_number, read_words, require_no_others, word
from debiaslab.core.console import left_out, show
from debiaslab.core.errors import UserError, require_known
from debiaslab.core.files import atomic_write
from debiaslab.core.program import program_name
from debiaslab.core.progress_bar import progress_bar
from debiaslab.datasets.features import describe, map_features
from debiaslab.evaluation.counting import chunk_size
from debiaslab.prediction.classifier import Classifier, restore_classifier, restore_feature_classifier
from debiaslab.prediction.images import list_images
from debiaslab.prediction.predicting import Branches, Predicted, predict_features, predict_files
from debiaslab.training.device import choose_device, threads_for

ALL = "all"
USAGE = "predict RUN with images=FOLDER_OR_CSV"
WRITE = "write it with numpy.save, as floats [rows, features]"


@dataclass(frozen=True, kw_only=True)
class PredictWords:
    ids: tuple[str, ...] = word("the run, if it does not follow the command", (), name="id")
    images: str | None = word("a folder of images, a CSV with their paths in a column path, or an image")
    features: str | None = word("instead of images, for a run of features: a .npy file, floats [rows, features]")
    out: str = word("CSV file to write, as --out", "predictions.csv")
    branch: tuple[str, ...] = word("branches of the method: A,B, or all (default: the prediction)", ())
    rule: str | None = word("rule that selected the weights: last, or the run's setting selection (default)")
    device: str = word("auto, cpu, cuda, cuda:N, mps", "auto")
    batch_size: int | None = word("images per batch (default: as in an evaluation)", read=read_count)
    workers: int | None = word("threads that read images (default: one per core)", read=read_number)
    log_dir: str = word("folder of the records", "runs")


WORDS = PredictWords


def run(updates: Sequence[str]) -> int:
    """Write the predictions; returns 0, or 1 if some images cannot be read. Raises `UserError`."""
    words, others = read_words(PredictWords, updates)
    require_no_others(PredictWords, others)
    name = only_name(words.ids, USAGE)
    if words.images is None and words.features is None:
        raise UserError(f"which images? Write `{program_name()} {USAGE}`")
    if words.images is not None and words.features is not None:
        raise UserError(f"images={words.images} and features={words.features}: give one of them")
    out = Path(words.out)
    if out.is_dir():
        raise UserError(f"out={out} is a folder; give the file to write, such as out={out / 'predictions.csv'}")
    record = find_one_run(name, words.log_dir)
    inputs = features_of(record, words) if words.features is not None else images_of(record, words)
    classifier = inputs.classifier
    branches = choose_branches(classifier, words.branch)
    classifier.to(choose_device(words.device))
    with atomic_write(out) as temporary:
        counts, problems = write_predictions(temporary, inputs, branches, words)
    for problem in problems:
        left_out(problem)
    facts = classifier.facts
    show(f"predicted with {record.id}: weights by {facts['rule']}, {facts['phase']} epoch {facts['epoch']}")
    if inputs.ignored:
        show(f"{words.images}: files ignored because their names are not those of images: {inputs.ignored:,}")
    found = ", ".join(f"{name}: {counts[name]:,}" for name in classifier.class_names if counts[name])
    unread = f", {len(problems):,} skipped because they cannot be read" if problems else ""
    show(f"{out}: {len(inputs.names) - len(problems):,} {inputs.kind}{unread}{'; ' if found else ''}{found}")
    return 1 if problems else 0


@dataclass(frozen=True)
class Inputs:
    """What to predict with `classifier`: the `kind` of inputs, their `names` in the CSV's first column, and `predict`,
    which yields the predictions of the given branches in batches of a size. `ignored` counts other files."""

    classifier: Classifier
    kind: str
    column: str
    names: Sequence[str | int]
    predict: Callable[[Branches, torch.device, int], Iterator[Predicted]]
    ignored: int = 0


def images_of(record: Record, words: PredictWords) -> Inputs:
    """The image files that the words name. Raises `UserError`."""
    assert words.images is not None
    images = list_images(words.images)
    classifier = restore_classifier(record, words.rule)
    workers = (os.cpu_count() or 1) if words.workers is None else words.workers

    def predict(branches: Branches, device: torch.device, size: int) -> Iterator[Predicted]:
        return predict_files(branches, images.files, classifier.preprocess, device, size, workers)

    return Inputs(classifier, "images", "path", images.names, predict, images.ignored)


def features_of(record: Record, words: PredictWords) -> Inputs:
    """The features that the words name. Raises `UserError`."""
    assert words.features is not None
    path = Path(words.features)
    features = map_features(path, "features", WRITE)
    classifier = restore_feature_classifier(record, words.rule)
    (width,) = classifier.input_shape
    if features.shape[1] != width:
        raise UserError(f"{describe(path, features)}, but the run {record.id} is of {width} features per row; {WRITE}")

    def predict(branches: Branches, device: torch.device, size: int) -> Iterator[Predicted]:
        return predict_features(branches, path, features, device, size)

    return Inputs(classifier, "rows of features", "row", range(len(features)), predict)


def choose_branches(classifier: Classifier, asked: Sequence[str]) -> list[str]:
    """Return the branches that the user `asked` for. Raises `UserError` for one that the method does not have."""
    known = classifier.branches()
    for name in asked:
        require_known("branch", name, [*known, ALL], "branch=")
    return known if ALL in asked else list(asked)


def write_predictions(
    path: Path, inputs: Inputs, branches: Sequence[str], words: PredictWords
) -> tuple[Counter[str], list[str]]:
    """Write the CSV; returns the number of inputs per predicted class (by the first branch), and the problems with
    images that cannot be read."""
    classifier = inputs.classifier
    counts: Counter[str] = Counter()
    problems: list[str] = []
    with path.open("w", newline="", encoding="utf-8") as file, threads_for(classifier):
        writer = csv.writer(file)
        own = ["branch"] if branches else []
        writer.writerow([inputs.column, *own, "predicted", *(f"p_{name}" for name in classifier.class_names)])
        for predicted in _predictions(inputs, branches, words):
            problems += predicted.problems
            for row, position in enumerate(predicted.positions):
                for number, (branch, probabilities) in enumerate(predicted.probabilities.items()):
                    name = classifier.class_names[int(probabilities[row].argmax())]
                    values = [f"{probability:.6g}" for probability in probabilities[row]]
                    writer.writerow([inputs.names[position], *([branch] if own else []), name, *values])
                    counts[name] += number == 0
    return counts, problems


def _predictions(inputs: Inputs, branches: Sequence[str], words: PredictWords) -> Iterator[Predicted]:
    """Predict all inputs, with a progress bar."""
    classifier = inputs.classifier

    def chosen(batch: Tensor) -> dict[str, Tensor]:
        if not branches:
            return {"": classifier(batch)}
        logits = classifier.branch_logits(batch)
        return {name: logits[name] for name in branches}

    size = words.batch_size or chunk_size(classifier.input_shape)
    parts = inputs.predict(chosen, next(classifier.parameters()).device, size)
    number = len(inputs.names)
    return progress_bar(parts, ceil(number / size), f"predicting {number:,} {inputs.kind}")
