"""Select recorded runs by the words that started them.

`colored_mnist severity4 method=denetdm seed=1 status=completed since=2026-11-01`: named configurations, settings, and
the words `status`, `id`, `since` and `until`. A setting may have one of several values (`method=erm,lff`, `seed=1-3`)
or lie within bounds (`data.skew<=0.01`).
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import ge, gt, le, lt
from typing import Any

from debiaslab.core.errors import UserError, one_of, suggestion
from debiaslab.core.settings import flatten
from debiaslab.settings.declared import declarations

STATUSES = ("COMPLETED", "RUNNING", "INTERRUPTED", "FAILED", "QUEUED", "TIMED_OUT")


@dataclass(frozen=True)
class OneOf:
    """A condition: one of `values`, or a whole number in one of `ranges` (first, last)."""

    values: tuple[Any, ...]
    ranges: tuple[tuple[int, int], ...] = ()

    def holds(self, found: Any) -> bool:
        is_whole = isinstance(found, int) and not isinstance(found, bool)
        in_range = is_whole and any(first <= found <= last for first, last in self.ranges)
        return in_range or any(same(found, value) for value in self.values)


@dataclass(frozen=True)
class Bound:
    """A condition: a number that is within all `limits`, such as ("<=", 0.01)."""

    limits: tuple[tuple[str, float], ...]

    def holds(self, found: Any) -> bool:
        is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
        return is_number and all(SIGNS[sign](found, limit) for sign, limit in self.limits)


SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
WORDS_OF_SETTING = re.compile(r"([^=<>]+)(<=|>=|=|<|>)(.*)", re.DOTALL)
RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")


def parse_condition(name: str, sign: str, text: str) -> Any:
    """The value or condition of the setting `name` that `text` behind `sign` writes. Raises `UserError`."""
    if sign != "=":
        value = parse_literal(text)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{name}{sign}{text}: must be a number behind {sign}")
        return Bound(((sign, value),))
    parts = [text] if text[:1] in tuple("([{'\"") else [part.strip() for part in text.split(",")]
    ranges = [RANGE.fullmatch(part) for part in parts]
    if len(parts) == 1 and ranges[0] is None:
        return parse_literal(text)
    if not all(parts):
        raise UserError(f"{name}={text}: something is missing; write {name}=A,B")
    values = [parse_literal(part) for part, found in zip(parts, ranges, strict=True) if found is None]
    return OneOf((*values, text), tuple((int(found[1]), int(found[2])) for found in ranges if found is not None))


def parse_literal(text: str) -> Any:
    """The value that `text` writes; itself, if it is no Python literal."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


@dataclass(frozen=True)
class Query:
    """Conditions that a run has to meet, all of them: dotted setting -> value or condition, statuses, ids, and when it
    started.

    `words` are other words of the command, to suggest for a setting that no run has.
    """

    settings: Mapping[str, Any]
    status: str | None = None
    ids: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: Sequence[str] = ()

    def matches(self, run_id: str, config: Mapping[str, Any], status: str, start: datetime | None) -> bool:
        if self.ids is not None and run_id not in self.ids:
            return False
        if self.status is not None and status != self.status:
            return False
        if self.since is not None and (start is None or start < self.since):
            return False
        if self.until is not None and (start is None or start >= self.until):
            return False
        return all(_has(config, name, value) for name, value in self.settings.items())


EVERYTHING = Query({})
MISSING = object()
OF_NETWORKS = ("method.", "model.")  # settings that depend on the method or model


def setting_of(config: Mapping[str, Any], name: str) -> Any:
    """The value of the dotted setting `name`, `MISSING` if there is none."""
    value: Any = config
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def _has(config: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether a run has this value. A setting that the run does not have, but others may have, matches None."""
    found = setting_of(config, name)
    if found is MISSING and (value is not None or not (name in declarations() or name.startswith(OF_NETWORKS))):
        return False
    return value.holds(found) if isinstance(value, (OneOf, Bound)) else same(found, value)


def same(found: Any, wanted: Any) -> bool:
    """Whether a recorded value is the wanted one; 1 and 1.0 are, 1 and True are not; a missing one is None."""
    found = None if found is MISSING else found
    if isinstance(found, bool) != isinstance(wanted, bool):
        return False
    if isinstance(found, (list, tuple)) and isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return bool(found == wanted)


def require_known_settings(query: Query, configs: Iterable[Mapping[str, Any]]) -> None:
    """Raise `UserError` for a setting that none of the runs has, suggesting the closest one."""
    unknown = set(query.settings) - set(declarations())
    known: set[str] = set()
    for config in configs:
        unknown = {name for name in unknown if setting_of(config, name) is MISSING}
        if not unknown:
            return
        known |= {name for name, _ in flatten(config)}
    for name in sorted(unknown if known else ()):
        near = suggestion(name, [*known, *(each.rpartition(".")[2] for each in known), *query.words])
        options = [f" words of this command: {one_of(query.words)}"] if query.words else []
        options += [] if near.endswith("?") else [f" they have {one_of(known)}"]  # about sixty
        raise UserError(f"no run has a setting {name!r}{near}{';'.join(options)}")


def parse_date(name: str, text: str) -> datetime:
    """Parse a time (UTC) such as 2026-11-22 or 2026-11-22T14:00. Raises `UserError`."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise UserError(f"{name}={text!r} is not a date; write it as 2026-11-22 or 2026-11-22T14:00") from None


def parse_status(text: str) -> str:
    """Convert a status to Sacred's. Raises `UserError` if it is unknown."""
    if text.upper() not in STATUSES:
        options = [status.lower() for status in STATUSES]
        raise UserError(f"unknown status {text!r}{suggestion(text.lower(), options)} one of {one_of(options)}")
    return text.upper()
