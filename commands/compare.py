"""`python main.py compare RUN [RUN...]`: all accuracies of a few runs side by side.

RUN is the id of a run, its folder, or a folder of runs. Instead, `with WORDS` selects runs as for `results`.

Examples:
  python main.py compare runs/20261130-100339-7c1e runs/20261130-101500-02ab
  python main.py compare with colored_mnist skewed1
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.columns import Columns
from rich.table import Table

from debiaslab.analysis.bias_labels import bias_labels_of
from debiaslab.analysis.records import Record
from debiaslab.analysis.result import COLUMNS, extra_splits, percent, title_of, why_unknown
from debiaslab.commands.named_runs import find_named_runs
from debiaslab.commands.run_query import RunWords, find_records, read_run_query
from debiaslab.core.console import left_out, show
from debiaslab.core.errors import UserError
from debiaslab.core.program import program_name
from debiaslab.evaluation.selection import RULES, parse_rule

WORDS = RunWords


def run(updates: Sequence[str]) -> None:
    """Print a table for each of the runs. Raises `UserError`."""
    asked = read_run_query(updates, RunWords)
    query = asked.query
    if query.ids is None:
        records = find_records(query, asked.log_dir)
    else:
        rest = replace(query, ids=None)
        named = find_named_runs(query.ids, asked.log_dir)
        records = [run for run in named if rest.matches(run.id, run.config, run.status, run.start)]
    complete = [record for record in records if record.result]
    for record in records:
        if not record.result:
            left_out(f"the run {record.id} is not complete: {record.state}")
    if not complete:
        raise UserError(f"none of these runs is complete; `{program_name()} results with list=True` lists all runs")
    show(Columns([run_table(record) for record in complete]))


def run_table(record: Record) -> Table:
    """Test accuracies in percent: a row for each metric, and for each extra split; a column for each rule."""
    result: Mapping[str, Mapping[str, Any]] = record.result or {}
    rules = sorted(result)
    any_rule = result[rules[0]]
    reason = why_unknown(any_rule, "test")
    # settings of training, such as the seed, are those of the run that trained the weights
    of = f"seed {record.config['seed']}" if record.trained else f"weights of {record.config.get('checkpoint')}"
    labels = [f"{rule}: {bias_labels_of(record, rule).text()}" for rule in rules if rule in RULES]
    caption = "\n".join([f"{record.id}, {of}", *([reason] if reason else []), *labels])
    table = Table(title=title_of(record.config), caption=caption)
    table.add_column("test accuracy (%)")
    for rule in rules:
        label = parse_rule(rule, True, "rule").label if rule in RULES else rule
        table.add_column(label.replace(" (", "\n("), justify="right")
    for metric, name in COLUMNS.items():
        table.add_row(name, *(percent(result[rule].get(f"test/{metric}")) for rule in rules))
    for split in sorted(extra_splits(any_rule)):
        accuracies = (percent(result[rule].get(f"{split}/accuracy")) for rule in rules)
        table.add_row(f"{split}: {COLUMNS['accuracy']}", *accuracies)
    return table
