"""The words after `study with`: which runs, and how they are carried out and shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from debiaslab.core.errors import UserError, require_known
from debiaslab.methods import METHODS

OWN = ("methods", "variants", "seed", "seeds", "jobs", "together", "again", "list")
OF_RESULTS = ("metric", "rule", "format", "against")  # handed on to `results`
# settings of one run that a study has a word for, and those that it decides itself
IN_PLACE_OF = {"method": "methods", "method.name": "methods"}
DECIDED = ("resume", "checkpoint", "train")
MAX_SEEDS = 10_000
NO_SEEDS = "which runs? give seeds=5, seeds=1-5 or seeds=1,2,3"


@dataclass(frozen=True)
class StudyWords:
    """`common` words of all runs; `variants` are further words, joined by + as they were typed ("" for none).

    `methods` None: all that the data set has a recipe for. `parallel` runs at a time. `together`: whether runs that
    differ in their seed alone are trained as one; None: where that is faster. `again`: those too that another version
    of the code has done. `listed`: say what would be done, and do nothing. `shown`: words for `results`.
    """

    common: tuple[str, ...]
    methods: tuple[str, ...] | None
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    parallel: int
    together: bool | None
    again: bool
    listed: bool
    shown: tuple[str, ...]


def read_study(updates: Sequence[str]) -> StudyWords:
    """Of a word that comes twice the last one counts, as of a setting.

    Raises `UserError` for a word that is wrong in itself; settings are checked with the runs (`jobs.py`).
    """
    own: dict[str, str] = {}
    common, shown = [], []
    for update in updates:
        name, separator, value = update.partition("=")
        name = IN_PLACE_OF.get(name, name) if separator else name
        if separator and name in DECIDED:
            raise UserError(f"{update}: a study decides that for each of its runs; leave it out")
        if separator and name in OWN:
            own[name] = value
        elif separator and name in OF_RESULTS:
            shown.append(update)
        else:
            common.append(update)
    variants = _parts("variants", own["variants"]) if "variants" in own else ("",)
    require_variants(variants)
    methods = _parts("methods", own["methods"]) if "methods" in own else None
    for method in methods or ():
        require_known("method", method, METHODS)
    return StudyWords(
        common=tuple(common),
        methods=methods,
        variants=variants,
        seeds=read_seeds(own.get("seeds", "1" if "seed" in own else "3"), own.get("seed")),
        parallel=_positive("jobs", own.get("jobs", "1")),
        together=None if own.get("together") == "auto" else _yes("together", own.get("together", "False"), "auto, "),
        again=_yes("again", own.get("again", "False")),
        listed=_yes("list", own.get("list", "False")),
        shown=tuple(shown),
    )


def require_variants(variants: Sequence[str]) -> None:
    """Raise `UserError` for a variant with a word of the study itself: it would have no effect."""
    for word in (word for variant in variants for word in variant.split("+")):
        name, separator, _ = word.partition("=")
        if separator and (name in (*OWN, *OF_RESULTS, *DECIDED) or name in IN_PLACE_OF):
            raise UserError(f"variants={word}: {name} is no matter of variants; leave it out there")


def read_seeds(text: str, first: str | None = None) -> tuple[int, ...]:
    """The seeds of "1,2,3", "1-5" or "1,4-6"; of "5", five of them, from `first` (None: 1) on. Raises `UserError`."""
    if text.isdecimal():
        start = 1 if first is None else _whole("seed", first)
        return read_seeds(f"{start}-{start + _positive('seeds', text) - 1}")
    if first is not None:
        raise UserError(f"seed={first} and seeds={text}: give one of them")
    seeds: dict[int, None] = {}
    for part in _parts("seeds", text):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
            raise UserError(f"seeds={text}: {part!r} is no seed; write seeds=1,2,3 or seeds=1-5")
        if int(last or first) - int(first) >= MAX_SEEDS:
            raise UserError(f"seeds={text}: more than {MAX_SEEDS:,} seeds; write seeds=1,2,3 or seeds=1-5")
        seeds |= dict.fromkeys(range(int(first), int(last or first) + 1))
    return tuple(seeds)


def _parts(name: str, text: str) -> tuple[str, ...]:
    """What is separated by commas, each once."""
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(parts):
        raise UserError(f"{name}={text}: something is missing; write {name}=A,B")
    return parts


def _positive(name: str, text: str) -> int:
    return _whole(name, text, 1)


def _whole(name: str, text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}={text}: must be a whole number, {least} or more")
    return int(text)


def _yes(name: str, text: str, others: str = "") -> bool:
    if text not in ("True", "False"):
        raise UserError(f"{name}={text}: must be {others}True or False")
    return text == "True"
