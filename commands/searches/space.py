"""Parse the ranges of a search: `method.hparams.alpha=log(0.01, 10)`."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from debiaslab.core.errors import UserError, require_known
from debiaslab.recording.updates import SHORT_SETTINGS

KINDS = {
    "uniform": "uniform(LOW, HIGH) takes two numbers, LOW < HIGH",
    "log": "log(LOW, HIGH) takes two numbers, 0 < LOW < HIGH; log-uniform",
    "int": "int(LOW, HIGH) takes two integers, LOW < HIGH, both included",
    "choice": "choice(A, B, ...) takes one or more different values",
}
SEARCHED = ("method.", "model.")  # better results on other data or with another seed are not comparable

Value = int | float | str  # of a searched setting; the values of a choice are text, as on the command line


@dataclass(frozen=True)
class Range:
    """The range of `setting`: (LOW, HIGH), or the texts of a choice; `source`: of a range that was not typed."""

    setting: str
    kind: str
    values: tuple[Value, ...]
    source: str | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        return f"{self.kind}({', '.join(map(str, self.values))})"

    def points(self) -> list[Value]:
        """All values, for a grid. Raises `UserError` for a range of real numbers."""
        if self.kind == "int":
            low, high = map(int, self.values)
            return list(range(low, high + 1))
        if self.kind == "choice":
            return list(self.values)
        raise UserError(
            f"{self.setting}={self.text}: sampler=grid needs discrete values;"
            " use choice(A, B, ...) or int(LOW, HIGH), or sampler=tpe or random"
        )


def read_range(setting: str, text: str) -> Range | None:
    """Parse a range; None if `text` is a plain value. Raises `UserError` for an invalid range."""
    match = re.fullmatch(r"(\w+)\(.*\)", text, re.DOTALL)
    if match is None:
        return None
    kind = match[1]
    require_known("range", kind, KINDS, prefix=f"{setting}=")
    setting = SHORT_SETTINGS.get(setting, setting)
    if not setting.startswith(SEARCHED):
        raise UserError(f"{setting}={text}: only settings of method and model can be searched, not {setting}")
    values = _values(kind, text)
    if values is None:
        raise UserError(f"cannot read {setting}={text}: {KINDS[kind]}")
    return Range(setting, kind, values)


def _values(kind: str, text: str) -> tuple[Value, ...] | None:
    """Parse the arguments of a range; None if they are invalid (see `KINDS`)."""
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.keywords:
            return None
        if kind == "choice":
            options = tuple(ast.get_source_segment(text, argument) or "" for argument in call.args)
            return options if options and len(set(options)) == len(options) else None
        low, high = (ast.literal_eval(argument) for argument in call.args)
    except (SyntaxError, ValueError):
        return None
    types = int if kind == "int" else (int, float)
    numbers = all(isinstance(number, types) and not isinstance(number, bool) for number in (low, high))
    if not numbers or not (isfinite(low) and isfinite(high)) or low >= high:
        return None
    if kind == "log" and low <= 0:
        return None
    return (low, high) if kind == "int" else (float(low), float(high))


def as_words(values: Mapping[str, Value]) -> list[str]:
    """The command-line words that set exactly these `values` in a run."""
    return [f"{setting}={value}" for setting, value in values.items()]
