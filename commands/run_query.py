"""Find the recorded runs for a command, from the words after `with`."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from debiaslab.analysis.query import (
    EVERYTHING,
    WORDS_OF_SETTING,
    Bound,
    OneOf,
    Query,
    parse_condition,
    parse_date,
    parse_literal,
    parse_status,
)
from debiaslab.analysis.records import Record, Store
from debiaslab.commands.words import read_words, word, word_names
from debiaslab.config import NAMED_CONFIGS
from debiaslab.core.console import left_out
from debiaslab.core.errors import UserError, require_known
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.program import program_name
from debiaslab.core.settings import declared, flatten
from debiaslab.datasets import DATASETS
from debiaslab.methods import METHODS
from debiaslab.models import MODELS
from debiaslab.recording.updates import SHORT_SETTINGS, require_agreement
from debiaslab.settings.declared import declarations, without_effect_on_results
from debiaslab.settings.run import TRIAL_SETTINGS

DEFAULT_LOG_DIR = "runs"
# leave a result as it is, and choose no runs; the CSV of a user's images does, as nothing else names these
NO_CONDITIONS = without_effect_on_results() - {*TRIAL_SETTINGS, "data.csv"}


@dataclass(frozen=True, kw_only=True)
class RunWords:
    """Words that select runs, in addition to named configurations and settings."""

    status: str | None = word(
        "runs of this status: completed, running, interrupted, failed", read=lambda _, text: parse_status(text)
    )
    ids: tuple[str, ...] | None = word("ids of runs, or how they begin: A,B", name="id")
    since: datetime | None = word("runs started since then: 2026-11-22 or 2026-11-22T14:00 (UTC)", read=parse_date)
    until: datetime | None = word("runs started before this time", read=parse_date)


W = TypeVar("W", bound=RunWords)


@dataclass(frozen=True)
class RunQuery(Generic[W]):
    """A parsed query: the runs, where they are recorded, the command's own `words`, and settings of this machine."""

    query: Query
    log_dir: str
    words: W
    places: Mapping[str, Any]

    @property
    def names_trials(self) -> bool:
        """Whether the words ask for the trials of a search, or for certain runs."""
        return self.query.ids is not None or bool(self.query.settings.keys() & {*TRIAL_SETTINGS})


def read_run_query(updates: Sequence[str], cls: type[W], places: Collection[str] = ()) -> RunQuery[W]:
    """Parse the words after `with`; the words of `cls` and the settings `places` belong to the command.

    Settings that do not affect results, such as folders, are not conditions. Raises `UserError` for an unknown named
    configuration, and for contradictory ones.
    """
    words, others = read_words(cls, updates)
    named: dict[str, Mapping[str, Any]] = {}
    settings: dict[str, Any] = {}
    for update in others:
        written = WORDS_OF_SETTING.fullmatch(update)
        if written is not None:
            name, sign, text = full_name(written[1]), written[2], written[3]
            is_condition = name not in {*NO_CONDITIONS, *TRIAL_SETTINGS, *places}
            value = parse_condition(name, sign, text) if is_condition else parse_literal(text)
            before = settings.get(name)
            if isinstance(before, Bound) and isinstance(value, Bound):
                value = Bound((*before.limits, *value.limits))
            settings[name] = value
        else:
            name = update
            require_known("named configuration", name, NAMED_CONFIGS)
            named[name] = NAMED_CONFIGS[name][1]
            settings |= dict(flatten(named[name]))
    require_agreement(named)
    for setting, kind, options in (("method.name", "method", METHODS), ("data.name", "data set", DATASETS)):
        if setting in settings:
            wanted = settings[setting]
            for value in wanted.values[:-1] if isinstance(wanted, OneOf) else [wanted]:
                require_known(kind, str(value), options)
    log_dir = str(settings.get("log_dir", DEFAULT_LOG_DIR))
    here = {name: value for name, value in settings.items() if name in places}
    settings = {name: value for name, value in settings.items() if name not in {*NO_CONDITIONS, *places}}
    query = Query(settings, words.status, words.ids, words.since, words.until, word_names(cls))
    return RunQuery(query, log_dir, words, here)


def full_name(name: str) -> str:
    """The dotted name of a setting; those of methods, data and networks may be written by their last part."""
    if name in SHORT_SETTINGS or "." in name or name in declarations():
        return SHORT_SETTINGS.get(name, name)
    places: Mapping[str, Iterable[type]] = {
        "method.hparams.": [method.Config for method in METHODS.values()],
        "data.": DATASETS.values(),
        "model.hparams.": MODELS.values(),
    }
    found = (prefix for prefix, classes in places.items() if any(name in declared(cls) for cls in classes))
    return next(found, "") + name


def open_store(log_dir: str) -> Store:
    """The runs in MongoDB if it is given by -m or the environment, else those in the folder. Raises `UserError`."""
    mongo_url = os.environ.get(MONGO_URL)
    if mongo_url:
        from debiaslab.analysis.mongo_store import MongoStore

        return MongoStore(mongo_url)
    from debiaslab.analysis.file_store import FileStore

    return FileStore(Path(log_dir))


def find_records(query: Query, log_dir: str) -> list[Record]:
    """Find the runs for a query; problems are printed to standard error. Raises `UserError` if there are none."""
    store = open_store(log_dir)
    records = store.find(query)
    found = {record.id for record in records}
    beginnings = [name for name in query.ids or () if name not in found and not store.find(replace(query, ids=(name,)))]
    if beginnings:
        others = [run for run in store.find(replace(query, ids=None)) if run.id.startswith(tuple(beginnings))]
        records += [run for run in others if run.id not in found]
    for problem in store.problems:
        left_out(problem)
    if not records:
        raise UserError(explain_empty(store, log_dir))
    return records


def explain_empty(store: Store, log_dir: str) -> str:
    """The message if no run matches the query."""
    if not store.find(EVERYTHING):
        return "no run is recorded here yet: see log_dir=DIR, or -m for MongoDB"
    elsewhere = "" if log_dir == DEFAULT_LOG_DIR else f" log_dir={log_dir}"
    return f"no recorded run matches; `{program_name()} results with list=True{elsewhere}` shows all"
