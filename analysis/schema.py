"""The schema of recorded runs. It is checked once, when a record is read; all other code relies on it.

A record may come from another version, another machine or an untrusted source: everything in it is validated.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, Required, TypedDict

import msgspec
import numpy
from msgspec import Meta

from debiaslab.core.errors import UserError
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.evaluation.metrics import DIFFERENCE, is_difference
from debiaslab.evaluation.outcomes import IN_NATS, read_outcomes

MAX_DEPTH = 20  # nesting of settings
LARGEST = 2**63 - 1  # the largest integer of MongoDB and SQLite
NOT_IN_ID = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # an id is also a folder name
BAD_ID = "its id is not a valid folder name"

Share = Annotated[float, Meta(ge=0, le=1)]
Difference = Annotated[float, Meta(ge=-1, le=1)]
Nats = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]


class DataSettings(TypedDict, total=False):
    name: Required[str]
    protocol: Required[str]
    skew: float | None
    percent: float | None
    rho: float | None


class MethodSettings(TypedDict, total=False):
    name: Required[str]
    recipe: str | None
    hparams: Required[dict[str, Any]]


class ModelSettings(TypedDict):
    name: str
    hparams: dict[str, Any]


class Config(TypedDict, total=False):
    data: Required[DataSettings]
    method: Required[MethodSettings]
    model: ModelSettings
    seed: Required[int]
    train: bool
    checkpoint: str | None
    evaluate_images: int | None
    log_dir: str
    selection: str
    search: str | None
    trial: int | None
    objective: str | None


class DataFacts(TypedDict, total=False):
    fingerprint: str | None
    classes: list[str] | None
    biases: list[str] | None
    notes: list[str]
    labelled: dict[str, Count] | None
    conflicting: dict[str, Count | None] | None
    validation: str | None


class MachineFacts(TypedDict, total=False):
    device: str | None
    torch: str | None


class CodeFacts(TypedDict, total=False):
    commit: str | None
    changed: bool | None


class Info(TypedDict, total=False):
    data: DataFacts
    machine: MachineFacts
    code: CodeFacts


class Chosen(TypedDict):
    """The evaluation that a result is from; its metrics are in the same dictionary."""

    phase: str
    epoch: Count
    step: Count


class Link(TypedDict):
    name: str
    file_id: Any


class ExperimentFacts(TypedDict, total=False):
    base_dir: str
    dependencies: list[str]
    sources: list[tuple[str, Any]]  # (path of a source file, place of its copy)


class Host(TypedDict, total=False):
    os: list[str]
    python_version: str | None
    cpu: str | None


class Entry(TypedDict, total=False):
    """Sacred's own entry of a run: run.json, or the document in MongoDB."""

    command: Required[str]
    status: Required[str]
    start_time: datetime | None
    stop_time: datetime | None
    heartbeat: datetime | None
    result: Any
    artifacts: list[str | Link]
    experiment: ExperimentFacts
    host: Host


class Metric(TypedDict):
    """The values of one scalar in Sacred, in the order of logging."""

    steps: list[float]
    values: list[float]
    timestamps: list[datetime]


def is_run_id(text: str) -> bool:
    """Whether `text` can be the id of a run: a printable name that does not lead to another folder."""
    return text not in ("", ".", "..") and NOT_IN_ID.search(text) is None


def require_entry(entry: Any, where: object) -> None:
    """Raise `UserError`, naming the record `where`, if Sacred's entry of a run is invalid."""
    _require(Entry, entry, where, "run")


def require_run(entry: Any, config: Any, info: Any, where: object) -> None:
    """Raise `UserError`, naming the record `where`, if a run's entry, settings or facts are invalid."""
    require_entry(entry, where)
    _require(Config, config, where, "config")
    _require(Info, info, where, "info")
    result = entry.get("result")
    if entry["status"] == "COMPLETED" and result is not None:
        _require(dict[str, Chosen], result, where, "result")
        places = Chosen.__annotations__
        metrics = [{name: value for name, value in values.items() if name not in places} for values in result.values()]
        for values in metrics:
            nats = {name for name in values if name.rpartition("/")[2] in IN_NATS}
            differences = {name for name in values if is_difference(name)}
            shares = values.keys() - nats - differences
            _require(dict[str, Nats | None], {name: values[name] for name in nats}, where, "result")
            _require(dict[str, Difference | None], {name: values[name] for name in differences}, where, "result")
            _require(dict[str, Share | None], {name: values[name] for name in shares}, where, "result")
    try:
        _require_plain([config, info, result])
    except ValueError as error:
        raise damaged(where, str(error)) from None


def require_metrics(metrics: Any, where: object) -> None:
    """Raise `UserError`, naming the record `where`, if its scalars are invalid."""
    _require(dict[str, Metric], metrics, where, "metrics.json")


def damaged(where: object, why: str) -> UserError:
    return UserError(f"the record {where} is damaged: {why}")


def _require(kind: Any, value: Any, where: object, part: str) -> None:
    try:
        msgspec.convert(value, kind)
    except (ValueError, RecursionError) as error:  # of msgspec, or a text that is no Unicode
        raise damaged(where, f"{part}: {error}") from None


def _require_plain(value: Any, depth: int = 0) -> None:
    """Raise `ValueError` unless JSON, SQLite and MongoDB can store `value`, and a terminal can print it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _require_plain(name, depth + 1)
            _require_plain(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _require_plain(item, depth + 1)
    elif isinstance(value, str):
        value.encode()  # fails for unpaired surrogates
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError("a number in it is not finite")
    elif isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ValueError("a number in it is out of range")
    elif not isinstance(value, (int, float, type(None))):
        raise ValueError(f"it contains a {type(value).__name__}")


# ---- evaluations


def require_history(history: History) -> None:
    """Raise `ValueError` unless all counts match the splits and groups of the history, and all evaluations of a phase
    have the same branches.
    """
    totals = {split: _counts(table) for split, table in history.total.items()}
    if len({len(row) for row in history.aligned}) > 1:
        raise ValueError("the rows of a table have different lengths")
    aligned = numpy.array(history.aligned)
    if "test" not in totals or aligned.ndim != 2 or not aligned.size:
        raise ValueError("no counts of test images")
    shapes = {split: total.shape for split, total in totals.items()}
    if any(shape not in (aligned.shape, (len(aligned), 1)) for shape in shapes.values()):
        raise ValueError("the groups of its splits are not the same")
    if history.train is not None and _counts(history.train).shape != aligned.shape:
        raise ValueError("the counts of training images do not match the groups")
    sizes = history.attribute_sizes
    if history.min_group < 1 or (sizes and (min(sizes) < 1 or numpy.prod(sizes) != aligned.shape[1])):
        raise ValueError("the group sizes are impossible")
    if any(not splits or not totals.keys() >= {*splits} or name in totals for name, splits in history.means.items()):
        raise ValueError("there are means over unknown splits")
    if any(not _is_difference(name, pair, totals) for name, pair in history.differences.items()):
        raise ValueError("there are differences of unknown splits")
    shares = history.usual_shares
    if shares is not None and (len(shares) != 2 or len(sizes or ()) != 2 or not 0 <= min(shares) <= max(shares) <= 1):
        raise ValueError("the shares of its attributes are impossible")
    branches: dict[str, list[str]] = {}  # of each phase
    for evaluation in history.evaluations:
        if min(evaluation.epoch, evaluation.phase_step, evaluation.step) < 0:
            raise ValueError("an evaluation before the start")
        names = branches.setdefault(evaluation.phase, list(evaluation.correct.get("test", ())))
        if not names or evaluation.correct.keys() != totals.keys():
            raise ValueError("an evaluation lacks a split")
        for split, tables in evaluation.correct.items():
            if list(tables) != names:
                raise ValueError("its evaluations have different branches")
            for table in tables.values():
                correct = _counts(table)
                if correct.shape != shapes[split] or (correct > totals[split]).any():
                    raise ValueError("correct counts that are not of the groups")
        _require_outcomes(evaluation, totals)


def _is_difference(name: str, pair: list[str], totals: Mapping[str, Any]) -> bool:
    return name.endswith(DIFFERENCE) and name not in totals and len(pair) == 2 and totals.keys() >= {*pair}


def _require_outcomes(evaluation: Evaluation, totals: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless the outcomes are those of the correct counts."""
    for split, values in evaluation.outcomes.items():
        if split not in totals:
            raise ValueError("outcomes of a split that it does not have")
        predictions = read_outcomes(values, totals[split]).predictions
        classes = numpy.arange(len(predictions))
        if (predictions[classes, :, classes] != next(iter(evaluation.correct[split].values()))).any():
            raise ValueError("outcomes that are not those of the correct counts")


def _counts(table: list[list[int]]) -> Any:
    """int64 [num_classes, num_biases]. Raises `ValueError`."""
    if len({len(row) for row in table}) > 1:
        raise ValueError("the rows of a table have different lengths")
    counts = numpy.array(table)
    if counts.ndim != 2 or not counts.size or counts.dtype.kind != "i" or (counts < 0).any():
        raise ValueError("the counts are not a table of integers")
    return counts
