"""A CSV of images and their labels, checked line by line. Errors name the file and the line."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from debiaslab.core.errors import UserError, suggestion
from debiaslab.core.files import as_on_disk, require_regular
from debiaslab.core.program import program_name
from debiaslab.datasets.csv_columns import FURTHER_BIAS, INFERRED_BIAS, REQUIRED, ignored_columns, our_names
from debiaslab.datasets.splits import UNKNOWN_BIAS

SPLITS = ("train", "valid", "test")

INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?|nan|NaN")  # what a program may make of an integer, or of nothing
YES_OR_NO = {"1": True, "0": False, "true": True, "false": False}


@dataclass(frozen=True)
class CSVTable:
    """The rows of `file`: their line numbers, and the values of the columns that it has, without spaces around them.

    `lines` is empty for rows that come from class folders; `file` is then the folder. `notes` are for the user.
    """

    file: Path
    lines: list[int]
    columns: dict[str, list[str]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def mistake(self, row: int, text: str) -> UserError:
        """What to raise for a mistake in a row."""
        where = f", line {self.lines[row]}" if self.lines else f"/{self.columns['path'][row]}"
        return UserError(f"{self.file}{where}: {text}")

    def has(self, column: str) -> bool:
        """Whether the column is there, with a value in it."""
        return any(self.columns.get(column, ()))

    def paths(self) -> list[Path]:
        """The path of each row; relative ones are relative to the folder of the CSV. Raises `UserError` without one."""
        folder = self.file.absolute().parent if self.lines else self.file.absolute()
        if "" in self.columns["path"]:
            raise self.mistake(self.columns["path"].index(""), "no path")
        return [as_on_disk(Path(os.path.normpath(folder / path))) for path in self.columns["path"]]

    def files(self) -> list[Path]:
        """The image of each row, as `paths`. Raises `UserError` for a missing file, or one that appears twice."""
        paths = self.paths()
        first: dict[Path, int] = {}
        for row, path in enumerate(paths):
            if first.setdefault(path, row) != row:
                text = (
                    f"{self.columns['path'][row]} is in line {self.lines[first[path]]} already; remove one of the two"
                )
                raise self.mistake(row, text)
        missing = [row for row, path in enumerate(paths) if not os.path.isfile(path)]
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            advice = "correct the path, which is relative to the folder of the CSV, or remove the line"
            raise self.mistake(missing[0], f"there is no image file {paths[missing[0]]}{others}; {advice}")
        return paths

    def splits(self) -> list[str]:
        """The split of each row. Raises `UserError` for a value that is none."""
        for row, split in enumerate(self.columns["split"]):
            if split not in SPLITS:
                raise self.mistake(
                    row, f"unknown split {split!r}{suggestion(split, SPLITS)} one of {', '.join(SPLITS)}"
                )
        return self.columns["split"]

    def labels(self, column: str) -> tuple[list[int], tuple[str, ...] | None]:
        """(class index of each row, names of the classes): names in sorted order, or integers as they are (None).

        An empty value is `UNKNOWN_BIAS`. Raises `UserError` for names beside integers, integers that leave one out,
        and if there is only one class.
        """
        values = self.columns[column]
        filled = [row for row, value in enumerate(values) if value]
        if column in REQUIRED and len(filled) < len(values):
            raise self.mistake(values.index(""), f"no {column}; every image needs one")
        numbers = [row for row in filled if NUMBER.fullmatch(values[row])]
        if numbers:
            self._require_integers(column, filled, numbers[0])
            indices = {value: int(value) for value in values if value}
            self._require_no_gap(column, set(indices.values()))
            names = None
        else:
            names = tuple(sorted({values[row] for row in filled}))
            indices = {name: index for index, name in enumerate(names)}
        if len(indices) == 1:
            advice = "give at least two" if column == "target" else f"leave the column {column} out"
            raise UserError(f"{self.file}: every {column} is {next(iter(indices))}; {advice}")
        return [indices[value] if value else UNKNOWN_BIAS for value in values], names

    def _require_integers(self, column: str, rows: Sequence[int], number: int) -> None:
        """`number` is the first row that has one."""
        values = self.columns[column]
        for row in rows:
            if not INTEGER.fullmatch(values[row]):
                other = f"{column} {values[row]!r}, but {self._named(number)} has {values[number]}"
                text = f"{column} {values[row]!r} is no class number" if NUMBER.fullmatch(values[row]) else other
                raise self.mistake(row, f"{text}; write integers 0, 1, 2, ... everywhere, or names everywhere")

    def _named(self, row: int) -> str:
        return f"line {self.lines[row]}" if self.lines else self.columns["path"][row]

    def _require_no_gap(self, column: str, numbers: set[int]) -> None:
        gap = next(number for number in range(len(numbers) + 1) if number not in numbers)
        if gap < len(numbers):
            raise UserError(
                f"{self.file}: {column} goes up to {max(numbers)}, but no image has {column} {gap};"
                " number the classes from 0 without gaps, or write names"
            )

    def aligned(self) -> list[bool | None]:
        """Whether each row is of a usual (target, bias) pair; None where its bias is empty.

        Raises `UserError` where the rows of a pair do not agree.
        """
        values = [value.lower() for value in self.columns["aligned"]]
        pairs = list(zip(self.columns["target"], self.columns["bias"], strict=True))
        first: dict[tuple[str, str], int] = {}
        for row, (value, pair) in enumerate(zip(values, pairs, strict=True)):
            if not pair[1]:
                continue
            if value not in YES_OR_NO:
                raise self.mistake(
                    row, f"aligned is {value!r}; write 1 for a usual pair of target and bias, 0 for others"
                )
            earlier = first.setdefault(pair, row)
            if YES_OR_NO[values[earlier]] != YES_OR_NO[value]:
                text = f"aligned differs from line {self.lines[earlier]}, which has the same target and bias"
                raise self.mistake(row, f"{text}; write the same for all rows of a pair")
        return [YES_OR_NO[value] if pair[1] else None for value, pair in zip(values, pairs, strict=True)]


def with_bias_column(table: CSVTable, inferred: bool) -> CSVTable:
    """`table` with the column `INFERRED_BIAS` as its bias, if `inferred`; else without that column.

    `aligned`, which is said of the known bias, is left out with it. Raises `UserError` if there is no such column.
    """
    columns = {name: values for name, values in table.columns.items() if name != INFERRED_BIAS}
    if not inferred:
        return replace(table, columns=columns)
    if not table.has(INFERRED_BIAS):
        raise UserError(
            f"data.inferred_bias=True: {table.file} has no column {INFERRED_BIAS};"
            f" `{program_name()} audit` writes one into inferred.csv"
        )
    kept = {name: values for name, values in columns.items() if name != "aligned"}
    return replace(table, columns=kept | {"bias": table.columns[INFERRED_BIAS]})


def bias_columns(table: CSVTable) -> list[str]:
    """The bias columns: several if `data.columns` names several attributes."""
    return [name for name in table.columns if name == "bias" or name.startswith(FURTHER_BIAS)]


def read_csv(
    file: Path,
    required: Sequence[str] = REQUIRED,
    setting: str = "data.csv",
    names: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> CSVTable:
    """The table in `file`: UTF-8, commas, the first line names the columns, of which it has those `required`.

    `setting` names the file; `names` maps our column names to those in the file. Unknown columns are ignored with a
    note. Raises `UserError` for anything else.
    """
    try:
        require_regular(file)
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {setting}={file}: {error.strerror}; name your CSV with {setting}=PATH") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line}: not UTF-8; save the CSV as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for values in reader:
            stripped = [value.strip() for value in values]
            if any(stripped):
                rows.append((reader.line_num, stripped))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not a CSV ({error}); separate values by commas") from None
    if not rows:
        raise UserError(f"{file} is empty; its first line must be {','.join(required)}, or have more columns")
    (_, found), *body = rows
    header = our_names(file, found, names, setting)
    _check_header(file, found, header, required, setting)
    if not body:
        raise UserError(f"{file} has no image; write a line for each below the first one")
    for line, values in body:
        if len(values) != len(header):
            text = f"{len(values)} values, but the first line names {len(found)} columns ({','.join(found)})"
            raise UserError(f"{file}, line {line}: {text}; quote a value that has a comma")
    every = zip(header, map(list, zip(*(values for _, values in body), strict=True)), strict=True)
    columns = {name: values for name, values in every if name is not None}
    return CSVTable(file, [line for line, _ in body], columns, ignored_columns(file, found, header))


def _check_header(
    file: Path, found: Sequence[str], header: Sequence[str | None], required: Sequence[str], setting: str
) -> None:
    """`found` are the names in the file, `header` ours."""
    if len(header) == 1 and re.search(r"[;\t|]", found[0]):
        raise UserError(f"{file}, line 1: no comma in {found[0]!r}; separate values by commas")
    if not any(header):
        raise UserError(f"{file}, line 1: no name of a column; the first line names them, such as path,target,bias")
    for position, name in enumerate(header):
        if name is not None and name in header[:position]:
            raise UserError(f"{file}, line 1: two columns {name!r}; remove one")
    for name in required:
        if name not in header:
            advice = f"; name it with data.columns={name}=NAME" if setting == "data.csv" else ""
            raise UserError(f"{file}, line 1: no column {name!r}; columns: {', '.join(found)}{advice}")
