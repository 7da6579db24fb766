"""The words after `search with`: what is searched, how, and by what it is judged."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from debiaslab.commands.question import positive, yes_or_no
from debiaslab.commands.searches.space import Range, read_range
from debiaslab.core.errors import UserError, require_known
from debiaslab.evaluation.metrics import METRICS
from debiaslab.recording.command_line import SHORT_SETTINGS

SAMPLERS = ("tpe", "random", "grid")
OWN = ("trials", "sampler", "objective", "storage", "jobs", "name", "top", "list")
DECIDED = ("resume", "checkpoint", "train", "search", "trial")
STORAGE_URL = "DEBIAS_SEARCH_URL"  # environment variable; the only place where a password may stand
RULE = "best_valid_"
TRIALS = 20  # the least that EnD's authors made


@dataclass(frozen=True)
class SearchWords:
    """`common` words of all trials; `space` the ranges that were given.

    `metric` that judges on validation images and `selection`, the rule that chooses the evaluation; `trials`, `name`:
    None where it is not said. `storage` is a file, or the address of a database. `jobs` trials at a time; the `top`
    best are summed up. `listed`: show what is recorded, and run nothing.
    """

    common: tuple[str, ...]
    space: tuple[Range, ...]
    metric: str | None
    selection: str | None
    sampler: str
    trials: int | None
    name: str | None
    storage: str | None
    jobs: int
    top: int
    listed: bool


def read_search(updates: Sequence[str]) -> SearchWords:
    """Raises `UserError` for a word that is wrong in itself; settings are checked with the plan (`plan.py`)."""
    own: dict[str, str] = {}
    common: dict[str, str] = {}  # setting -> its word; a named configuration stands for itself
    space: dict[str, Range] = {}
    for update in updates:
        setting, separator, value = update.partition("=")
        if separator and setting in DECIDED:
            raise UserError(f"{update}: a search decides that for each of its trials; leave it out")
        found = read_range(setting, value) if separator and setting not in OWN else None
        if separator and setting in (*OWN, "selection"):
            own[setting] = value
        elif found is not None:
            space[found.setting] = found
        else:
            common[SHORT_SETTINGS.get(setting, setting) if separator else update] = update
    twice = next((range_.setting for range_ in space.values() if range_.setting in common), None)
    if twice is not None:
        raise UserError(f"{common[twice]}: {twice} has a range too; give one of the two")
    sampler = own.get("sampler", "tpe")
    require_known("sampler", sampler, SAMPLERS)
    metric, selection = read_objective(own.get("objective"), own.get("selection"))
    return SearchWords(
        common=tuple(common.values()),
        space=tuple(space.values()),
        metric=metric,
        selection=selection,
        sampler=sampler,
        trials=positive("trials", own["trials"]) if "trials" in own else None,
        name=_name(own["name"]) if "name" in own else None,
        storage=_storage(own.get("storage")),
        jobs=positive("jobs", own.get("jobs", "1")),
        top=positive("top", own.get("top", "3")),
        listed=yes_or_no("list", own.get("list", "False")),
    )


def read_objective(objective: str | None, selection: str | None) -> tuple[str | None, str | None]:
    """(metric, rule) of `objective`, such as valid/unbiased or best_valid_unbiased, under the rule `selection`.

    None for what is not said. Raises `UserError` for one that is unknown, or that chooses on test images.
    """
    for word, text in (("objective", objective), ("selection", selection)):
        if text is not None and text.startswith(("test", "oracle_test")):
            raise UserError(
                f"{word}={text}: a search that chooses on the test images reports how well it fitted them;"
                f" use {word}={'valid/unbiased' if word == 'objective' else 'best_valid_unbiased'}"
            )
    if selection is not None:
        require_known("rule", selection, ["last", *(RULE + metric for metric in METRICS)], prefix="selection=")
    if objective is None:
        return (None if selection in (None, "last") else str(selection).removeprefix(RULE)), selection
    by_name = {f"valid/{metric}": metric for metric in METRICS} | {RULE + metric: metric for metric in METRICS}
    require_known("objective", objective, by_name)
    if objective.startswith(RULE) and selection not in (None, objective):
        raise UserError(f"objective={objective} and selection={selection}: give one of the two")
    return by_name[objective], selection or RULE + by_name[objective]


def _name(text: str) -> str:
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    if not plain.isalnum() or not plain.isascii() or not text[0].isalpha() or text in ("None", "True", "False"):
        raise UserError(f"name={text!r}: must be of letters, digits, '-', '_' and '.', and begin with a letter")
    return text


def _storage(text: str | None) -> str | None:
    if text is not None and "://" in text and urlsplit(text).password is not None:
        raise UserError(f"storage: a password can be read on the command line; put the address into {STORAGE_URL}")
    return text or os.environ.get(STORAGE_URL) or None
