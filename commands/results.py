"""`python main.py results [with WORDS]`: recorded results as a table, with published numbers.

WORDS select the runs (named configurations and settings, as when starting them) or are options of the table.
search=NAME alone shows the results of that search.

Examples:
  python main.py results
  python main.py results with colored_mnist severity4 rule=last metric=test/unbiased,test/worst_group
  python main.py results with colored_mnist method=erm,lff against=erm interval=95 format=latex one_table=True
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import nan
from typing import Any

from rich.table import Table

from debiaslab.analysis.certainty import comparisons, with_intervals, with_tests
from debiaslab.analysis.rank_formats import RANK_FORMATS
from debiaslab.analysis.ranks import rank_tables
from debiaslab.analysis.records import Record, without_trials
from debiaslab.analysis.result import percent
from debiaslab.analysis.search import best_settings, find_trials, search_report
from debiaslab.analysis.table_formats import FORMATS, as_csv
from debiaslab.analysis.table_layout import Layout, lay_out, side_by_side
from debiaslab.analysis.tables import ResultTable, result_tables
from debiaslab.commands.resuming import resume_hints
from debiaslab.commands.run_query import RunWords, find_records, read_run_query
from debiaslab.commands.words import declared_words, one_of_these, read_list, word
from debiaslab.core.console import left_out, new_table, show
from debiaslab.core.errors import UserError, one_of, suggestion
from debiaslab.evaluation.metrics import METRICS
from debiaslab.evaluation.outcomes import OUTCOME_METRICS
from debiaslab.evaluation.selection import parse_rule
from debiaslab.settings.declared import variant_of

DEFAULT_METRIC = "test/unbiased"


def read_rule(name: str, text: str) -> str:
    parse_rule(text, True, name)
    return text


def read_rules(name: str, text: str) -> tuple[str, ...]:
    return tuple(read_rule(name, rule) for rule in read_list(name, text))


def read_percent(name: str, text: str) -> float:
    """A number above 0 and below 100. Raises `UserError`."""
    try:
        percent = float(text)
    except ValueError:
        percent = nan
    if not 0 < percent < 100:
        raise UserError(f"{name}={text}: must be a number above 0 and below 100, such as 95")
    return percent


def read_metrics(name: str, text: str) -> tuple[str, ...]:
    """SPLIT/METRIC each, separated by commas; splits depend on the data. Raises `UserError` for another metric."""
    metrics = read_list(name, text)
    for metric in metrics:
        split, separator, measure = metric.rpartition("/")
        if not separator or measure not in (*METRICS, *OUTCOME_METRICS):
            known = [f"{split or 'test'}/{each}" for each in (*METRICS, *OUTCOME_METRICS)]
            raise UserError(f"unknown metric {metric!r}{suggestion(metric, known)} one of {one_of(known)}")
    return metrics


def read_names(name: str, text: str) -> tuple[tuple[str, str], ...]:
    """Parse NAME:SHOWN pairs, separated by commas. Raises `UserError`."""
    pairs = [part.partition(":") for part in read_list(name, text)]
    for known, colon, shown in pairs:
        if not (known and colon and shown.strip()):
            raise UserError(f"{name}={text}: write pairs such as {name}=erm:ERM,denetdm:DeNetDM")
    return tuple((known, shown) for known, _, shown in pairs)


def read_label(name: str, text: str) -> str:
    if not re.fullmatch(r"[\w:.+/-]+", text, re.ASCII):
        raise UserError(f"{name}={text}: must be letters, digits and : . + / _ -, such as {name}=tab:cmnist")
    return text


read_kind = one_of_these("kind", ("table", "ranks"))
OF_RANKS = (
    "kind",
    "metrics",
    "rules",
    "format",
    *(field.name for field in fields(RunWords)),
)  # options that ranks have


@dataclass(frozen=True, kw_only=True)
class TableWords:
    """Options of tables of results."""

    metrics: tuple[str, ...] = word("metrics to show: A,B of SPLIT/METRIC", (), name="metric", read=read_metrics)
    rules: tuple[str, ...] = word("selection rules: A,B; default: all recorded ones", (), name="rule", read=read_rules)
    format: str | None = word("terminal, markdown, latex or csv", read=one_of_these("format", list(FORMATS)))
    against: str | None = word("row that the others are tested against")
    interval: float | None = word("percent of an interval of the mean over seeds: 95", read=read_percent)
    bootstrap: bool = word("True: the interval is a bootstrap's, not Student's", False)


@dataclass(frozen=True, kw_only=True)
class ResultsWords(TableWords, RunWords):
    kind: str = word("table; ranks: do data sets, and rules, rank methods alike", "table", read=read_kind)
    listed: bool = word("True: list the runs", False, name="list")
    top: int | None = word("number of best trials in the summary of a search; default: 3")
    one_table: bool = word("True: all metrics side by side in one table", False)
    names: tuple[tuple[str, str], ...] = word("names to show: erm:ERM,denetdm:DeNetDM", (), read=read_names)
    order: tuple[str, ...] = word("methods of the first rows: A,B", ())
    bold: bool = word("True: mark the best mean of each column", False)
    published: bool = word("False: without the papers' numbers", True)
    notes: bool = word("False: without notes", True)
    caption: str | None = word("caption of the table")
    label: str | None = word("label of the LaTeX table, such as tab:cmnist", read=read_label)

    def layout(self) -> Layout:
        return Layout(dict(self.names), self.order, self.bold, self.published, self.notes, self.caption, self.label)


WORDS = ResultsWords


def run(updates: Sequence[str]) -> None:
    """Print a table of the results, or, with list=True, a line for each run. Raises `UserError`."""
    asked = read_run_query(updates, ResultsWords)
    words, search = asked.words, asked.query.settings.get("search")
    if words.top is not None and search is None:
        raise UserError(f"top={words.top} needs a search; name it with search=NAME")
    records = find_records(asked.query, asked.log_dir)
    compared = records if asked.names_trials else without_trials(records)
    if words.listed:
        show(run_list(records), *resume_hints(records))
    elif words.kind == "ranks":
        show_ranks(compared, words)
    elif search is not None and not (words.metrics or words.rules or words.format or words.against):
        show_search(str(search), records, words.top or 3)
    else:
        show(*format_tables(laid_out_tables(compared, words), words.format or "terminal"))


def show_ranks(records: Sequence[Record], words: ResultsWords) -> None:
    """Show how far data sets, and rules, agree on the ranks of methods, for each metric. Raises `UserError`."""
    for name, declared in declared_words(ResultsWords):
        if declared.name not in OF_RANKS and getattr(words, declared.name) != declared.default:
            raise UserError(f"{name}= is an option of tables of results; leave it out with kind=ranks")
    rules = words.rules or recorded_rules(records)
    metrics = words.metrics or (DEFAULT_METRIC,)
    tables = [table for metric in metrics for table in rank_tables(records, rules, metric, left_out)]
    show(*RANK_FORMATS[words.format or "terminal"](tables))


def make_tables(records: Sequence[Record], words: TableWords) -> list[ResultTable]:
    """Make a table for each metric and rule, with intervals and tests. Raises `UserError`."""
    if words.bootstrap and words.interval is None:
        raise UserError("bootstrap=True: says how an interval is made; ask for one with interval=95")
    tables = []
    for metric in words.metrics or (DEFAULT_METRIC,):
        for table in result_tables(records, words.rules or recorded_rules(records), metric, left_out):
            if words.interval is not None:
                table = with_intervals(table, records, words.interval, words.bootstrap)
            if words.against is not None:
                table = with_tests(table, words.against)
            tables.append(table)
    return tables


def laid_out_tables(records: Sequence[Record], words: ResultsWords) -> list[ResultTable]:
    """Make the tables in the layout that `words` ask for. Raises `UserError`."""
    if words.label is not None and words.format != "latex":
        raise UserError(f"label={words.label}: only LaTeX tables have labels; add format=latex")
    tables = make_tables(records, words)
    if words.one_table:
        rules = dict.fromkeys(table.rule for table in tables)
        tables = [side_by_side([table for table in tables if table.rule == rule]) for rule in rules]
    for name, text in (("caption", words.caption), ("label", words.label)):
        if text is not None and len(tables) > 1:
            raise UserError(f"{name}={text}: there are {len(tables)} tables; choose one by metric= and rule=")
    return [lay_out(table, words.layout()) for table in tables]


def format_tables(tables: Sequence[ResultTable], format: str) -> list[Any]:
    """Format tables for `show`: a single CSV, or each on its own, with a line per test below it."""
    if format == "csv":
        return [as_csv(*tables)]
    shown: list[Any] = []
    for table in tables:
        tests = [] if table.base is None or not table.has_notes else comparisons(table, table.base)
        if format == "terminal":
            shown += [FORMATS[format](table), *tests]
        else:
            shown.append(FORMATS[format](replace(table, remarks=[*table.remarks, *tests])))
    return shown


def show_search(name: str, records: Sequence[Record], top: int) -> None:
    """Show the trials of a search, and EnD's summary of the `top` best. Raises `UserError`."""
    found = find_trials(name, records)
    show(*search_report(found, top))
    best = best_settings(found)
    if best:
        show(f"the best settings: {' '.join(f'{setting}={value}' for setting, value in best.items())}")


def recorded_rules(records: Sequence[Record]) -> list[str]:
    """The rules that all completed runs have recorded; `last` if there is no other."""
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
