"""The commands that ask recorded runs: `python main.py results [with WORDS]`.

WORDS are those that the runs were started with (named configurations and settings), which choose the runs;
status=NAME, id=ID, since=DATE, until=DATE do, too. What is shown: metric=test/unbiased, rule=last (or several,
separated by commas), format=terminal, markdown, latex or csv, against=METHOD to test the others against one, and
list=True for a line for each run.
"""

import ast
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from analysis.query import Query, parse_date, parse_status
from analysis.records import Record, Store
from analysis.result import percent, variant_of
from analysis.tables import FORMATS, comparisons, result_table
from config import NAMED_CONFIGS
from core.errors import UserError, require_known
from core.mongo import MONGO_URL
from core.settings import flattened
from datasets import DATASETS
from methods import METHODS
from recording.command_line import SHORT_SETTINGS
from training.setup import NOT_IDENTITY

DEFAULT_METRIC = "test/unbiased"
# words that are no settings of a run
OWN_WORDS = ("status", "id", "since", "until", "metric", "rule", "format", "list", "against")


@dataclass(frozen=True)
class Question:
    """What was asked: which runs, where they are recorded, and how to show them (`words`)."""

    query: Query
    log_dir: str
    words: Mapping[str, str] = field(default_factory=dict)


def read_question(updates: Sequence[str]) -> Question:
    """The question in the words after `with`. Raises `UserError` for a word that is no named configuration.

    Settings that leave a result as it is, such as folders, are no conditions.
    """
    named = {name: settings for name, (_, settings) in NAMED_CONFIGS.items()}
    settings: dict[str, Any] = {}
    words: dict[str, str] = {}
    for update in updates:
        name, separator, value = update.partition("=")
        if not separator:
            require_known("named configuration", name, named)
            settings |= dict(flattened(named[name]))
        elif name in OWN_WORDS:
            words[name] = value
        else:
            settings[SHORT_SETTINGS.get(name, name)] = _value(value)
    if "method.name" in settings:
        require_known("method", str(settings["method.name"]), METHODS)
    if "data.name" in settings:
        require_known("data set", str(settings["data.name"]), DATASETS)
    log_dir = settings.get("log_dir", "runs")
    settings = {name: value for name, value in settings.items() if name not in NOT_IDENTITY}
    since, until = (parse_date(name, words[name]) if name in words else None for name in ("since", "until"))
    status = parse_status(words["status"]) if "status" in words else None
    ids = words["id"].split(",") if "id" in words else None
    return Question(Query(settings, status, ids, since, until), str(log_dir), words)


def _value(text: str) -> Any:
    """As Sacred reads a setting: a Python literal, or text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def open_store(log_dir: str) -> Store:
    """The runs in MongoDB if -m or the environment names one, else those in the folder. Raises `UserError`."""
    mongo_url = os.environ.get(MONGO_URL)
    if mongo_url:
        from analysis.mongo_store import MongoStore

        return MongoStore(mongo_url)
    from analysis.file_store import FileStore

    return FileStore(Path(log_dir))


def results(question: Question, store: Store) -> None:
    """Print a table of the results, or, with list=True, a line for each run. Raises `UserError`."""
    records = found_records(question, store)
    if question.words.get("list", "False") == "True":
        show([run_list(records)])
        return
    chosen = question.words.get("format", "terminal")
    require_known("format", chosen, FORMATS)
    rules = question.words["rule"].split(",") if "rule" in question.words else recorded_rules(records)
    metric = question.words.get("metric", DEFAULT_METRIC)
    for rule in rules:
        table = result_table(records, rule, metric)
        show([FORMATS[chosen](table)])
        if "against" in question.words:
            show(comparisons(table, question.words["against"]))


def found_records(question: Question, store: Store) -> list[Record]:
    """The runs that are asked for; problems go to standard error. Raises `UserError` if there is none."""
    records = store.find(question.query)
    for problem in store.problems:
        print(f"left out: {problem}", file=sys.stderr)
    if not records:
        raise UserError("no recorded run is like that; `python main.py results with list=True` shows all")
    return records


def recorded_rules(records: Sequence[Record]) -> list[str]:
    """The rules that all complete runs have recorded; `last` if there is no other."""
    complete = [set(record.result) for record in records if record.result]
    common = set.intersection(*complete) if complete else set()
    return [*(["last"] if "last" in common or not common else []), *sorted(common - {"last"})]


def run_list(records: Sequence[Record]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in ("run", "method", "data", "variant", "seed", "status"):
        table.add_column(header, no_wrap=header == "run")
    table.add_column("last, test unbiased (%)", justify="right")
    for record in records:
        config: Any = record.config
        last = (record.result or {}).get("last", {})
        facts = [
            record.id,
            config["method"]["name"],
            config["data"]["name"],
            variant_of(config["data"]),
            str(config["seed"]),
        ]
        table.add_row(*facts, record.status.lower(), percent(last.get("test/unbiased")))
    return table


def show(things: Sequence[Any]) -> None:
    """Print to standard output; plain text where that is no terminal, as wide as it needs to be."""
    console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 240
    for thing in things:
        console.print(thing)


def _answering(command: Callable[[Question, Store], None]) -> Callable[[list[str]], None]:
    def answer(updates: list[str]) -> None:
        question = read_question(updates)
        command(question, open_store(question.log_dir))

    return answer


QUESTIONS = {"results": _answering(results)}
