"""`python main.py results [with WORDS]`: recorded results as a table, beside the published ones.

WORDS are those that the runs were started with (named configurations and settings), which choose the runs;
status=NAME, id=ID, since=DATE, until=DATE do, too. What is shown: metric=test/unbiased, rule=last (or several,
separated by commas), format=terminal, markdown, latex or csv, against=METHOD to test the others against one, and
list=True for a line for each run. search=NAME alone shows what that search has found, and sums up its top=3 trials.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from debiaslab.analysis.records import Record
from debiaslab.analysis.result import percent
from debiaslab.analysis.search import best_settings, find_trials, search_report
from debiaslab.analysis.table_formats import FORMATS
from debiaslab.analysis.tables import comparisons, result_tables
from debiaslab.commands.question import found_records, positive, read_question, yes_or_no
from debiaslab.core.console import left_out, new_table, show
from debiaslab.core.errors import UserError, one_of, require_known, suggestion
from debiaslab.evaluation.metrics import METRICS
from debiaslab.evaluation.selection import parse_rule
from debiaslab.settings.declared import variant_of

DEFAULT_METRIC = "test/unbiased"
WORDS = ("metric", "rule", "format", "list", "against", "top")


def answer(updates: Sequence[str]) -> None:
    """Print a table of the results, or, with list=True, a line for each run. Raises `UserError`."""
    question = read_question(updates, WORDS)
    if "top" in question.words and "search" not in question.query.settings:
        raise UserError(f"top={question.words['top']}: sums up a search; name it with search=NAME")
    listed = yes_or_no("list", question.words.get("list", "False"))
    records = found_records(question)
    if "search" in question.query.settings and not question.words.keys() - {"top"}:
        show_search(str(question.query.settings["search"]), records, question.words.get("top", "3"))
        return
    if listed:
        show(run_list(records))
        return
    check_words(question.words)
    show_tables(records, question.words)


def check_words(words: Mapping[str, str]) -> None:
    """Raise `UserError` for a wrong format, rule or metric."""
    require_known("format", words.get("format", "terminal"), FORMATS)
    require_metrics(words.get("metric", DEFAULT_METRIC))
    for rule in words["rule"].split(",") if "rule" in words else ():
        parse_rule(rule, True, "rule")


def require_metrics(metrics: str) -> None:
    """Raise `UserError` unless they are SPLIT/METRIC each, separated by commas; splits depend on the data."""
    for metric in metrics.split(","):
        split, separator, name = metric.rpartition("/")
        if not separator or name not in METRICS:
            known = [f"{split or 'test'}/{each}" for each in METRICS]
            raise UserError(f"unknown metric {metric!r}{suggestion(metric, known)} one of {one_of(known)}")


def show_tables(records: Sequence[Record], words: Mapping[str, str]) -> None:
    """A table for each rule, as `words` (metric, rule, format, against) ask for it. Raises `UserError`."""
    rules = words["rule"].split(",") if "rule" in words else recorded_rules(records)
    shown: list[Any] = []
    for table in result_tables(records, rules, words.get("metric", DEFAULT_METRIC), left_out):
        shown.append(FORMATS[words.get("format", "terminal")](table))
        if "against" in words:
            shown += comparisons(table, words["against"])
    show(*shown)


def show_search(name: str, records: Sequence[Record], top: str) -> None:
    """The trials of a search, and EnD's summary of the best. Raises `UserError`."""
    best_trials = positive("top", top)
    found = find_trials(name, records)
    show(*search_report(found, best_trials))
    best = best_settings(found)
    if best:
        show(f"the best settings: {' '.join(f'{setting}={value}' for setting, value in best.items())}")


def recorded_rules(records: Sequence[Record]) -> list[str]:
    """The rules that all complete runs have recorded; `last` if there is no other."""
    complete = [set(record.result) for record in records if record.result]
    common = set.intersection(*complete) if complete else set()
    return [*(["last"] if "last" in common or not common else []), *sorted(common - {"last"})]


def run_list(records: Sequence[Record]) -> Table:
    table = new_table()
    for header in ("run", "method", "data", "variant", "seed", "status"):
        table.add_column(header, no_wrap=header == "run")
    table.add_column("last, test unbiased (%)", justify="right")
    for record in records:
        config: Any = record.config
        last = (record.result or {}).get("last", {})
        facts = [
            record.id,
            config["method"]["name"] if record.trained else f"{config['method']['name']}, evaluated",
            config["data"]["name"],
            variant_of(config["data"]),
            str(config["seed"]) if record.trained else "-",
        ]
        table.add_row(*facts, record.state, percent(last.get("test/unbiased")))
    return table
