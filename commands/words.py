"""Options of a command ("words"), such as `jobs=2`: declared once, with type, default, help and parser.

A frozen dataclass declares them: `jobs: int = word("parallel runs", 1)`. `read_words` parses the command line into an
instance, `describe_words` lists them for `--help`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, field, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from debiaslab.core.errors import UserError, require_known

W = TypeVar("W")
Reader = Callable[[str, str], Any]  # maps a word's name and text to its value; raises `UserError`


def word(help: str, default: Any = None, *, name: str | None = None, read: Reader | None = None) -> Any:
    """A field of a dataclass of words; `name` is the name on the command line, if it is not the field's.

    `read` parses the value if the type is not sufficient: bool is parsed as True or False, int as a positive integer, a
    tuple as a list A,B, and str unchanged.
    """
    return field(default=default, metadata={"help": help, "name": name, "read": read})


def read_words(cls: type[W], updates: Sequence[str]) -> tuple[W, list[str]]:
    """Parse the words of `cls` among `updates`; returns (words, other updates). The last of repeated words is used.

    Raises `UserError` for an invalid value.
    """
    known = dict(declared_words(cls))
    given: dict[str, str] = {}
    others = []
    for update in updates:
        name, separator, text = update.partition("=")
        if separator and name in known:
            given[name] = text
        else:
            others.append(update)
    hints = get_type_hints(cls)
    values = {known[name].name: _reader(known[name], hints)(name, text) for name, text in given.items()}
    return cls(**values), others


def require_no_others(cls: type, others: Sequence[str]) -> None:
    """Raise `UserError` if there are `others` than the words of `cls`, for commands without settings."""
    for update in others:
        require_known("word", update.partition("=")[0], word_names(cls))


def declared_words(cls: type) -> Iterator[tuple[str, "Field[Any]"]]:
    """(name on the command line, field) of each word of `cls`."""
    for each in fields(cls):
        if "help" in each.metadata:
            yield each.metadata["name"] or each.name, each


def word_names(cls: type) -> list[str]:
    return [name for name, _ in declared_words(cls)]


def describe_words(cls: type) -> list[tuple[str, str]]:
    """(name, help with the default) of each word of `cls`."""
    described = []
    for name, each in declared_words(cls):
        default = ",".join(each.default) if isinstance(each.default, tuple) else each.default
        shown = "" if default in (None, "", False) else f" (default: {default})"
        described.append((name, each.metadata["help"] + shown))
    return described


def _reader(declared: "Field[Any]", hints: Mapping[str, Any]) -> Reader:
    if declared.metadata["read"] is not None:
        return declared.metadata["read"]  # type: ignore[no-any-return]
    hint = hints[declared.name]
    kinds = [get_origin(kind) or kind for kind in (get_args(hint) if NoneType in get_args(hint) else (hint,))]
    return READERS[kinds[0]]


# ---- parsers


def read_flag(name: str, text: str) -> bool:
    if text not in ("True", "False"):
        raise UserError(f"{name}={text}: must be True or False")
    return text == "True"


def read_flag_or_auto(name: str, text: str) -> bool | None:
    """Parse True, False or auto (None)."""
    if text not in ("auto", "True", "False"):
        raise UserError(f"{name}={text}: must be auto, True or False")
    return None if text == "auto" else text == "True"


def read_count(name: str, text: str) -> int:
    """Parse an integer, 1 or more."""
    return _whole_number(name, text, 1)


def read_number(name: str, text: str) -> int:
    """Parse an integer, 0 or more."""
    return _whole_number(name, text, 0)


def _whole_number(name: str, text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) < least:
        raise UserError(f"{name}={text}: must be a whole number, {least} or more")
    return int(text)


def read_list(name: str, text: str) -> tuple[str, ...]:
    """Parse a comma-separated list, without duplicates."""
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(parts):
        raise UserError(f"{name}={text}: something is missing; write {name}=A,B")
    return parts


def one_of_these(kind: str, options: Sequence[str]) -> Reader:
    """A parser for one of `options`; `kind` describes them ("sampler")."""

    def read(name: str, text: str) -> str:
        require_known(kind, text, options)
        return text

    return read


def some_of_these(kind: str, options: Sequence[str]) -> Reader:
    """The same for a list."""

    def read(name: str, text: str) -> tuple[str, ...]:
        parts = read_list(name, text)
        for part in parts:
            require_known(kind, part, options)
        return parts

    return read


MAX_SEEDS = 10_000


def read_seeds(text: str, first: int | None = None) -> tuple[int, ...]:
    """Parse "1,2,3", "1-5" or "1,4-6"; "5" gives five seeds starting at `first` (None: 1). Raises `UserError`."""
    hint = "write seeds=1,2,3 or seeds=1-5"
    if text.isdecimal():
        start = 1 if first is None else first
        return read_seeds(f"{start}-{start + read_count('seeds', text) - 1}")
    if first is not None:
        raise UserError(f"seed={first} and seeds={text}: give one of them")
    seeds: dict[int, None] = {}
    for part in read_list("seeds", text):
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            raise UserError(f"seeds={text}: {part!r} is not a seed; {hint}")
        if high - low >= MAX_SEEDS:
            raise UserError(f"seeds={text}: more than {MAX_SEEDS:,} seeds; {hint}")
        seeds |= dict.fromkeys(range(low, high + 1))
    return tuple(seeds)


READERS: Mapping[Any, Reader] = {
    bool: read_flag,
    int: read_count,
    tuple: read_list,
    str: lambda name, text: text,
}
