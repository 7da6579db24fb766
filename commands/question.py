"""The words after `with`: which runs a command is about, where they are recorded, and the command's own words."""

import ast
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debiaslab.analysis.query import EVERYTHING, Query, parse_date, parse_status
from debiaslab.analysis.records import Record, Store
from debiaslab.config import NAMED_CONFIGS
from debiaslab.core.console import left_out
from debiaslab.core.errors import UserError, require_known
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.settings import flattened
from debiaslab.datasets import DATASETS
from debiaslab.methods import METHODS
from debiaslab.recording.command_line import SHORT_SETTINGS, require_agreement
from debiaslab.settings.declared import without_effect_on_results
from debiaslab.settings.run import TRIAL_SETTINGS

DEFAULT_LOG_DIR = "runs"
CONDITIONS = ("status", "id", "since", "until")  # words that choose runs and are no settings
NO_CONDITIONS = without_effect_on_results() - {*TRIAL_SETTINGS}  # leave a result as it is, and choose no runs


@dataclass(frozen=True)
class Question:
    """What was asked: which runs, where they are recorded, and the command's own `words`."""

    query: Query
    log_dir: str
    words: Mapping[str, str] = field(default_factory=dict)


def read_question(updates: Sequence[str], own_words: Sequence[str] = ()) -> Question:
    """The question in the words after `with`; `own_words` are those of the command that are no conditions.

    Settings that leave a result as it is, such as folders, are no conditions. Raises `UserError` for a word that is no
    named configuration, and for two of them that contradict each other.
    """
    named: dict[str, Mapping[str, Any]] = {}
    settings: dict[str, Any] = {}
    words: dict[str, str] = {}
    for update in updates:
        name, separator, value = update.partition("=")
        if not separator:
            require_known("named configuration", name, NAMED_CONFIGS)
            named[name] = NAMED_CONFIGS[name][1]
            settings |= dict(flattened(named[name]))
        elif name in (*CONDITIONS, *own_words):
            words[name] = value
        else:
            settings[SHORT_SETTINGS.get(name, name)] = literal(value)
    require_agreement(named)
    if "method.name" in settings:
        require_known("method", str(settings["method.name"]), METHODS)
    if "data.name" in settings:
        require_known("data set", str(settings["data.name"]), DATASETS)
    log_dir = settings.get("log_dir", DEFAULT_LOG_DIR)
    settings = {name: value for name, value in settings.items() if name not in NO_CONDITIONS}
    since, until = (parse_date(name, words[name]) if name in words else None for name in ("since", "until"))
    status = parse_status(words["status"]) if "status" in words else None
    ids = words["id"].split(",") if "id" in words else None
    own = {name: words[name] for name in own_words if name in words}
    return Question(Query(settings, status, ids, since, until, (*CONDITIONS, *own_words)), str(log_dir), own)


def literal(text: str) -> Any:
    """As Sacred reads a setting: a Python literal, or text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def yes_or_no(word: str, text: str) -> bool:
    """The value of the command's own `word`. Raises `UserError` for anything but True and False."""
    if text not in ("True", "False"):
        raise UserError(f"{word}={text!r}: must be True or False")
    return text == "True"


def positive(word: str, text: str) -> int:
    """The value of the command's own `word`. Raises `UserError` for anything but a whole number from 1 on."""
    if not text.isdecimal() or int(text) == 0:
        raise UserError(f"{word}={text!r}: must be a positive whole number")
    return int(text)


def open_store(log_dir: str) -> Store:
    """The runs in MongoDB if -m or the environment names one, else those in the folder. Raises `UserError`."""
    mongo_url = os.environ.get(MONGO_URL)
    if mongo_url:
        from debiaslab.analysis.mongo_store import MongoStore

        return MongoStore(mongo_url)
    from debiaslab.analysis.file_store import FileStore

    return FileStore(Path(log_dir))


def found_records(question: Question) -> list[Record]:
    """The runs that are asked for; problems go to standard error. Raises `UserError` if there is none."""
    store = open_store(question.log_dir)
    records = store.find(question.query)
    for problem in store.problems:
        left_out(problem)
    if not records:
        raise UserError(none_found(store, question.log_dir))
    return records


def none_found(store: Store, log_dir: str) -> str:
    """What to say where no run is as it was asked for."""
    if not store.find(EVERYTHING):
        return "no run is recorded here yet: see log_dir=DIR, or -m for MongoDB"
    elsewhere = "" if log_dir == DEFAULT_LOG_DIR else f" log_dir={log_dir}"
    return f"no recorded run is like that; `python main.py results with list=True{elsewhere}` shows all"
