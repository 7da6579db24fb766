"""Write the model card of an exported classifier from its record: input, training, data, accuracies by group."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

from debiaslab.analysis.bias_labels import bias_labels_of
from debiaslab.analysis.records import Record
from debiaslab.analysis.result import COLUMNS, percent
from debiaslab.core.errors import UserError
from debiaslab.datasets import DATASETS
from debiaslab.datasets.base import UNKNOWN_LICENCE
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.evaluation.metrics import GroupCounts
from debiaslab.evaluation.selection import parse_rule
from debiaslab.prediction.classifier import TrainedClassifier
from debiaslab.settings.declared import data_declarations

SHOWN_GROUPS = 100  # beyond, only the worst groups are listed
WORST_GROUPS = 20
CODE = """\
```python
import json

import numpy
import onnxruntime

session = onnxruntime.InferenceSession("classifier.onnx")
(logits,) = session.run(None, {"image": images})  # images float32 [B, 3, H, W], preprocessed as below
classes = json.load(open("preprocessing.json"))["classes"]
print([classes[index] for index in numpy.argmax(logits, axis=1)])
```"""


def model_card(record: Record, classifier: TrainedClassifier, files: Mapping[str, str]) -> str:
    """Return the model card in Markdown; `files` maps the exported files to descriptions.

    Raises `UserError` if the record has no evaluation of the exported weights.
    """
    history = record.history()
    evaluation = evaluation_of(history, classifier.facts, record)
    rule = parse_rule(classifier.facts["rule"], True, "rule")
    sections = {
        None: [f"Trained by debiaslab, run `{record.id}`, code {record.code}, seed {record.config['seed']}."],
        "Files": [*(f"- `{name}`: {what}" for name, what in files.items()), "", CODE],
        "Input": list(describe_input(classifier)),
        "Training": list(describe_training(record, rule.name)),
        "Data": list(describe_data(record)),
        "Accuracy": list(describe_accuracy(record, history, evaluation, rule.label)),
        "Limits": [
            "The accuracies hold for images like those of the test set. Groups without test images were not evaluated,"
            " and biases without labels were not measured."
        ],
    }
    parts = [f"# {record.config['method']['name']} on {record.config['data']['name']}"]
    for name, lines in sections.items():
        parts += [*([f"## {name}"] if name else []), "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def evaluation_of(history: History, facts: Mapping[str, Any], record: Record) -> Evaluation:
    """Return the evaluation of the weights. Raises `UserError` if the record does not have it."""
    for evaluation in history.of_phase(facts["phase"]):
        if evaluation.step == facts["step"]:
            return evaluation
    raise UserError(f"the run {record.id} has no evaluation of its weights at step {facts['step']}; use another run")


def describe_input(classifier: TrainedClassifier) -> Iterator[str]:
    channels, height, width = classifier.preprocess.prepare.image_shape
    yield f"Images float32 [B, {channels}, {height}, {width}], RGB. To make one from an image file, in this order:"
    yield ""
    yield "1. apply the EXIF orientation, composite transparent pixels on white, convert to RGB;"
    yield f"2. {classifier.preprocess.prepare.describe()};"
    yield "3. divide the values by 255;"
    if classifier.preprocess.normalize is not None:
        mean, std = classifier.preprocess.normalize
        yield f"4. subtract the mean {mean} and divide by the standard deviation {std}, per channel."
    else:
        yield "4. no normalisation."
    yield ""
    yield f"Output: logits [B, {len(classifier.class_names)}] for the classes {', '.join(classifier.class_names)}."


def describe_training(record: Record, rule: str) -> Iterator[str]:
    config = record.config
    model = config.get("model") or {}
    hparams = ", ".join(f"{name}={value}" for name, value in sorted(config["method"]["hparams"].items()))
    yield f"- method: {config['method']['name']} ({hparams})"
    yield f"- network: {model.get('name')}, initial weights: {model.get('pretrained', 'none')}"
    yield f"- {bias_labels_of(record, rule).text()}"


def describe_data(record: Record) -> Iterator[str]:
    data = record.config["data"]
    info = record.info.get("data") or {}
    places = [name for name, known in data_declarations(data).items() if known.place]
    settings = {name: value for name, value in data.items() if name not in ("name", *places) and value is not None}
    yield f"- data set: {data['name']} ({', '.join(f'{name}={value}' for name, value in settings.items())})"
    if info.get("sizes"):
        yield f"- images: {', '.join(f'{name} {size:,}' for name, size in info['sizes'].items())}"
    yield f"- fingerprint: {record.fingerprint or 'not recorded'}"
    dataset = DATASETS.get(data["name"])
    licence = None if dataset is None else dataset.LICENCE
    yield f"- licence: {licence or UNKNOWN_LICENCE}"
    yield from (f"- note: {note}" for note in info.get("notes") or [])


def describe_accuracy(record: Record, history: History, evaluation: Evaluation, rule: str) -> Iterator[str]:
    yield f"In percent, for the weights selected by {rule}: {evaluation.phase} epoch {evaluation.epoch}."
    yield ""
    yield from table(
        ["split", "images", *COLUMNS.values()],
        [
            [name, f"{counts.total.sum():,}", *(format_accuracy(counts.metrics()[metric]) for metric in COLUMNS)]
            for name in evaluation.correct
            for counts in [history.counts(evaluation, name)]
        ],
    )
    yield ""
    yield from describe_groups(record, history.counts(evaluation, "test"))


def describe_groups(record: Record, counts: GroupCounts) -> Iterator[str]:
    """Describe the test accuracy of each group, with its number of training images."""
    info = record.info.get("data") or {}
    num_classes, num_biases = counts.total.shape
    classes = info.get("classes") or range(num_classes)
    biases = info.get("biases") or range(num_biases)
    train = counts.train
    groups = [
        (target, bias)
        for target in range(num_classes)
        for bias in range(num_biases)
        if counts.total[target, bias] or (train is not None and train[target, bias])
    ]
    accuracies = {group: float(counts.accuracies()[group]) for group in groups}
    yield "Groups of test images, each a class and a bias class; * marks bias-aligned pairs."
    if len(groups) > SHOWN_GROUPS:
        evaluated = [group for group in groups if not isnan(accuracies[group])]
        groups = sorted(evaluated, key=accuracies.__getitem__)[:WORST_GROUPS]
        yield f"Only the {WORST_GROUPS} worst are listed."
    yield ""
    yield from table(
        ["class", "bias", "training images", "test images", "accuracy"],
        [
            [
                str(classes[group[0]]),
                f"{biases[group[1]]}{'*' if counts.aligned[group] else ''}" if num_biases > 1 else "unknown",
                "unknown" if train is None else f"{train[group]:,}",
                f"{counts.total[group]:,}",
                format_accuracy(accuracies[group]),
            ]
            for group in groups
        ],
    )


def format_accuracy(value: float) -> str:
    return percent(None if isnan(value) else value)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
