"""Options of a search: settings, ranges, sampler and objective."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from debiaslab.commands.cluster_words import ClusterWords, take_options
from debiaslab.commands.parallel import DEFAULT
from debiaslab.commands.searches.space import Range, read_range
from debiaslab.commands.words import one_of_these, read_words, word
from debiaslab.core.errors import UserError, require_known
from debiaslab.evaluation.metrics import RULE_METRICS
from debiaslab.recording.updates import SHORT_SETTINGS
from debiaslab.settings.run import TRIAL_SETTINGS

SAMPLERS = ("tpe", "random", "grid")
DECIDED = ("resume", "checkpoint", "train", *TRIAL_SETTINGS)
STORAGE_URL = "DEBIAS_SEARCH_URL"  # environment variable; the only place for a password
RULE = "best_valid_"
TRIALS = 20  # the minimum of EnD's authors


def read_name(name: str, text: str) -> str:
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    if not plain.isalnum() or not plain.isascii() or not text[0].isalpha() or text in ("None", "True", "False"):
        raise UserError(f"{name}={text!r}: must be of letters, digits, '-', '_' and '.', and begin with a letter")
    return text


def read_storage(name: str, text: str) -> str:
    try:
        has_password = "://" in text and urlsplit(text).password is not None
    except ValueError:  # not a URL; rejected later
        has_password = "@" in text
    if has_password:
        raise UserError(f"{name}: a password can be read on the command line; put the address into {STORAGE_URL}")
    return text


@dataclass(frozen=True, kw_only=True)
class SearchWords(ClusterWords):
    """Options of a search, the `common` words of all trials, and `space`, the given ranges."""

    trials: int | None = word(f"number of trials; default: {TRIALS}, or all points of a grid")
    sampler: str = word("tpe, random or grid", "tpe", read=one_of_these("sampler", SAMPLERS))
    objective: str | None = word("metric on validation images to maximise: valid/unbiased")
    selection: str | None = word("rule that selects the evaluation: last, best_valid_unbiased")
    storage: str | None = word("file or URL of the database, shared by all workers", read=read_storage)
    jobs: int = word(f"parallel trials; {DEFAULT}", 0)
    name: str | None = word("name of the search; default: derived from its settings", read=read_name)
    top: int = word("number of best trials in the summary", 3)
    listed: bool = word("True: show the results so far, without running trials", False, name="list")
    common: tuple[str, ...] = ()
    space: tuple[Range, ...] = ()

    @property
    def given(self) -> list[str]:
        """The names of the settings among the `common` words."""
        names = (word.partition("=")[0] for word in self.common)
        return [SHORT_SETTINGS.get(name, name) for name in names]

    @property
    def parsed_objective(self) -> tuple[str | None, str | None]:
        """(metric on validation images, rule); None if not given. Raises `UserError`."""
        return read_objective(self.objective, self.selection)


def read_search(updates: Sequence[str]) -> SearchWords:
    """Parse the options. Raises `UserError` for invalid ones; settings are checked with the plan (`plan.py`)."""
    options, updates = take_options(updates)
    words, others = read_words(SearchWords, updates)
    words = replace(words, options=options)
    words.require_place()
    if words.nodes is not None:
        raise UserError(f"nodes={words.nodes}: a trial is on one node; leave it out")
    if words.on_slurm and not words.jobs:
        raise UserError("how many workers on Slurm? give jobs=20")
    _ = words.parsed_objective  # check it
    common: dict[str, str] = {}  # setting or named configuration -> word
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
    """Parse `objective`, such as valid/unbiased or best_valid_unbiased, and the rule `selection`: (metric, rule).

    None if not given. Raises `UserError` if one is unknown, or selects on test images.
    """
    for name, text in (("objective", objective), ("selection", selection)):
        if text is not None and text.startswith(("test", "oracle_test")):
            raise UserError(
                f"{name}={text}: a search that selects on the test images overfits them;"
                f" use {name}={'valid/unbiased' if name == 'objective' else 'best_valid_unbiased'}"
            )
    if selection is not None:
        require_known("rule", selection, ["last", *(RULE + metric for metric in RULE_METRICS)], prefix="selection=")
    if objective is None:
        return (None if selection in (None, "last") else str(selection).removeprefix(RULE)), selection
    by_name = {f"valid/{metric}": metric for metric in RULE_METRICS} | {
        RULE + metric: metric for metric in RULE_METRICS
    }
    require_known("objective", objective, by_name)
    if objective.startswith(RULE) and selection not in (None, objective):
        raise UserError(f"objective={objective} and selection={selection}: give one of the two")
    return by_name[objective], selection or RULE + by_name[objective]
