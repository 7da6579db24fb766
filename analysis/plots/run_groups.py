"""Group runs into lines and panels: runs that differ only in their seed."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from debiaslab.analysis.bias_labels import label_lines
from debiaslab.analysis.records import Record
from debiaslab.analysis.result import chosen_on_test, limited_evaluation
from debiaslab.analysis.table_names import column_names, row_names

MAX_NAME = 180  # characters of a file name


@dataclass(frozen=True)
class RunGroup:
    """Runs of one method (`row`: with what tells it from others) on one data set, one for each seed, in order."""

    row: str
    data: str  # data set, variant, protocol, limit of the evaluation
    records: tuple[Record, ...]


def group_runs(records: Sequence[Record]) -> dict[str, list[RunGroup]]:
    """Data set -> its cells. If runs were repeated with the same seed, the last one is used.

    Runs whose protocol or any other setting differs never share a cell.
    """
    rows, columns = row_names(records), column_names(records)
    members: dict[tuple[str, str], dict[Any, Record]] = {}
    for record in records:
        place = with_protocol(columns[record.id], record.config), rows[record.id]
        members.setdefault(place, {})[record.config["seed"]] = record
    found: dict[str, list[RunGroup]] = {}
    for (data, row), by_seed in sorted(members.items(), key=lambda item: item[0]):
        runs = tuple(by_seed[seed] for seed in sorted(by_seed))
        found.setdefault(data, []).append(RunGroup(row, data, runs))
    return found


def with_protocol(data: str, config: Mapping[str, Any]) -> str:
    """Return the name of a data set with the protocol, and the number of evaluated images if that was limited."""
    protocol = config["data"].get("protocol")
    named = f"protocol {protocol}" in data
    return ", ".join(part for part in (data, "" if named else protocol, *limited_evaluation(config, data)) if part)


def selection_notes(cells: Sequence[RunGroup], rule: str | None = None) -> list[str]:
    """A line for each method whose phases were handed over by the test images, and lines on the bias labels that the
    methods took under `rule`; None: beside the choice of an evaluation."""
    notes = {cell.row: chosen_on_test(cell.records[0].config) for cell in cells}
    oracle = [f"{row}: {', '.join(rules)}" for row, rules in notes.items() if rules]
    rows: dict[str, list[Record]] = {}
    for cell in cells:
        rows.setdefault(cell.row, []).append(cell.records[0])
    return [*oracle, *label_lines(rows, rule)]


def frame_of_groups(
    cells: Sequence[RunGroup], frame: Callable[[Sequence[Record]], pandas.DataFrame]
) -> pandas.DataFrame:
    """`frame` of the runs of each cell, with the cell's `row`."""
    frames = [frame(cell.records).assign(row=cell.row) for cell in cells]
    return pandas.concat([found for found in frames if len(found)] or [pandas.DataFrame()], ignore_index=True)


def file_name(*parts: str) -> str:
    """A file's name of letters, digits, full stops and dashes; of a long one, the first part and a checksum."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(part for part in parts if part)).strip("-")
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 9]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
