"""The words after `search with`: what is searched, how, and by what it is judged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from debiaslab.commands.searches.space import Range, read_range
from debiaslab.commands.words import one_of_these, read_words, word
from debiaslab.core.errors import UserError, require_known
from debiaslab.evaluation.metrics import METRICS
from debiaslab.recording.updates import SHORT_SETTINGS

SAMPLERS = ("tpe", "random", "grid")
DECIDED = ("resume", "checkpoint", "train", "search", "trial")
STORAGE_URL = "DEBIAS_SEARCH_URL"  # environment variable; the only place where a password may stand
RULE = "best_valid_"
TRIALS = 20  # the least that EnD's authors made


def read_name(name: str, text: str) -> str:
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    if not plain.isalnum() or not plain.isascii() or not text[0].isalpha() or text in ("None", "True", "False"):
        raise UserError(f"{name}={text!r}: must be of letters, digits, '-', '_' and '.', and begin with a letter")
    return text


def read_storage(name: str, text: str) -> str:
    try:
        has_password = "://" in text and urlsplit(text).password is not None
    except ValueError:  # no URL at all; that it cannot be used is told later
        has_password = "@" in text
    if has_password:
        raise UserError(f"{name}: a password can be read on the command line; put the address into {STORAGE_URL}")
    return text


@dataclass(frozen=True, kw_only=True)
class SearchWords:
    """Words of a search, the `common` words of all of its trials, and `space`, the ranges that were given."""

    trials: int | None = word(f"how many make the search complete: {TRIALS}, or a whole grid, unless said")
    sampler: str = word("tpe, random or grid", "tpe", read=one_of_these("sampler", SAMPLERS))
    objective: str | None = word("what is best: valid/unbiased; a metric on validation images")
    selection: str | None = word("rule that chooses the evaluation that is judged: last, best_valid_unbiased")
    storage: str | None = word("file, or address of a database, that several workers share", read=read_storage)
    jobs: int = word("trials at a time", 1)
    name: str | None = word("of the search; made from its settings unless said", read=read_name)
    top: int = word("how many of the best trials are summed up", 3)
    listed: bool = word("True: show what has been found, and run nothing", False, name="list")
    common: tuple[str, ...] = ()
    space: tuple[Range, ...] = ()

    @property
    def judged_by(self) -> tuple[str | None, str | None]:
        """(metric on validation images, rule); None for what is not said. Raises `UserError`."""
        return read_objective(self.objective, self.selection)


def read_search(updates: Sequence[str]) -> SearchWords:
    """Raises `UserError` for a word that is wrong in itself; settings are checked with the plan (`plan.py`)."""
    words, others = read_words(SearchWords, updates)
    _ = words.judged_by  # refuses wrong ones
    common: dict[str, str] = {}  # setting -> its word; a named configuration stands for itself
    space: dict[str, Range] = {}
    for update in others:
        setting, separator, value = update.partition("=")
        if separator and setting in DECIDED:
            raise UserError(f"{update}: a search decides that for each of its trials; leave it out")
        found = read_range(setting, value) if separator else None
        if found is not None:
            space[found.setting] = found
        else:
            common[SHORT_SETTINGS.get(setting, setting) if separator else update] = update
    twice = next((range_.setting for range_ in space.values() if range_.setting in common), None)
    if twice is not None:
        raise UserError(f"{common[twice]}: {twice} has a range too; give one of the two")
    return replace(words, common=tuple(common.values()), space=tuple(space.values()))


def read_objective(objective: str | None, selection: str | None) -> tuple[str | None, str | None]:
    """(metric, rule) of `objective`, such as valid/unbiased or best_valid_unbiased, under the rule `selection`.

    None for what is not said. Raises `UserError` for one that is unknown, or that chooses on test images.
    """
    for name, text in (("objective", objective), ("selection", selection)):
        if text is not None and text.startswith(("test", "oracle_test")):
            raise UserError(
                f"{name}={text}: a search that chooses on the test images reports how well it fitted them;"
                f" use {name}={'valid/unbiased' if name == 'objective' else 'best_valid_unbiased'}"
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
