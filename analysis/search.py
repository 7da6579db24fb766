"""The results of a hyper-parameter search, from the records of its trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean, pstdev
from typing import Any

from rich.table import Table

from debiaslab.analysis.bias_labels import bias_labels_of
from debiaslab.analysis.frames import settings_that_differ
from debiaslab.analysis.query import setting_of
from debiaslab.analysis.records import Record
from debiaslab.analysis.result import percent, title_of
from debiaslab.analysis.table_names import format_value
from debiaslab.core.console import new_table, plural
from debiaslab.core.errors import UserError
from debiaslab.evaluation.selection import parse_rule

# the metrics of EnD's table, on biased and on unbiased images; the first one that the data have
REPORTED = (("test_biased/accuracy", "test/aligned"), ("test/unbiased",), ("test/conflicting",), ("test/accuracy",))


@dataclass(frozen=True)
class SearchTrials:
    """The trials of one search, by number, and the searched settings."""

    name: str
    trials: tuple[Record, ...]
    settings: tuple[str, ...]

    def complete(self) -> list[Record]:
        """The trials that have a value, best first; ties keep their order."""
        values = {record.id: value for record in self.trials if (value := objective_of(record)) is not None}
        complete = [record for record in self.trials if record.id in values]
        return sorted(complete, key=lambda record: -values[record.id])


def objective_of(record: Record) -> float | None:
    """The objective of a trial, in [0, 1]; None if it has no value."""
    return _value(record, str(record.config.get("objective")))


def find_trials(name: str, records: Sequence[Record], settings: Sequence[str] | None = None) -> SearchTrials:
    """The trials of the search `name` among `records`. Raises `UserError` for none, or for those of several searches.

    If a trial has several runs, the first completed one is used. `settings` None: those in which the trials differ.
    """
    by_number: dict[int, Record] = {}
    for record in records:
        number = record.config.get("trial")
        if record.config.get("search") != name or number is None:
            continue
        before = by_number.get(number)
        if before is None or (objective_of(before) is None and objective_of(record) is not None):
            by_number[number] = record
    trials = tuple(by_number[number] for number in sorted(by_number))
    if not trials:
        raise UserError(f"no recorded run is a trial of a search {name}")
    differing = settings_that_differ(trials)
    foreign = [setting for setting in differing if not setting.startswith(("method.", "model."))]
    foreign += [mark for mark in ("seed", "objective") if len({repr(trial.config.get(mark)) for trial in trials}) > 1]
    if foreign:
        raise UserError(
            f"the trials of {name} differ in {foreign[0]}: there are several searches of that name;"
            f" select one with {foreign[0]}=VALUE"
        )
    return SearchTrials(name, trials, tuple(differing if settings is None else settings))


def search_report(found: SearchTrials, top: int) -> list[Any]:
    """A table of all trials, and EnD's summary of the `top` best."""
    best = found.complete()[:top]
    return [trials_table(found), summary_table(found, best) if best else f"no trial of {found.name} is complete yet"]


def best_settings(found: SearchTrials) -> dict[str, Any]:
    """The searched settings of the best trial; empty if none is complete."""
    best = found.complete()[:1]
    return {name: setting_of(record.config, name) for record in best for name in found.settings}


def summary_table(found: SearchTrials, best: Sequence[Record]) -> Table:
    """Mean and standard deviation of the objective and the test accuracies over the trials `best`."""
    config = best[0].config
    complete, rule = len(found.complete()), parse_rule(str(config["selection"]), True, "selection")
    spread = [f"+- is the standard deviation over these {len(best)} settings (divided by n), not over seeds"]
    table = new_table(
        f"search {found.name}: {title_of(config)}\nthe {len(best)} best of {plural(complete, 'complete trial')} by"
        f" {config['objective']}, seed {config['seed']}; accuracies under {rule.label}",
        "\n".join([*(spread if len(best) > 1 else []), bias_labels_of(best[0], rule.name).text()]),
    )
    for header in ("(%)", "mean", "+-"):
        table.add_column(header, justify="left" if header == "(%)" else "right", no_wrap=True)
    for name in (str(config["objective"]), *reported_metrics(best)):
        values = [_value(record, name) for record in best]
        known = [100 * value for value in values if value is not None]
        if len(known) == len(best):
            table.add_row(name, f"{fmean(known):.2f}", f"{pstdev(known):.2f}" if len(known) > 1 else "-")
    return table


def trials_table(found: SearchTrials) -> Table:
    """A row for each trial, the best in bold."""
    complete = found.complete()
    columns = reported_metrics(complete)
    objective = str(found.trials[0].config["objective"])
    table = new_table()
    for header in ("trial", *(name.removeprefix("method.hparams.") for name in found.settings)):
        table.add_column(header, justify="right")
    for header in (objective, *columns):
        table.add_column(header.replace("/", "/\n"), justify="right")
    for header in ("status", "run"):
        table.add_column(header, no_wrap=True)
    for record in found.trials:
        accuracies = [percent(_value(record, name)) for name in (objective, *columns)]
        settings = [format_value(setting_of(record.config, name)) for name in found.settings]
        style = "bold" if complete and record is complete[0] else None
        facts = [record.state, record.id]
        table.add_row(str(record.config["trial"]), *settings, *accuracies, *facts, style=style)
    return table


def reported_metrics(records: Sequence[Record]) -> list[str]:
    """The accuracies of `REPORTED` that all of `records` have."""
    known = ((name for name in names if all(_value(r, name) is not None for r in records)) for names in REPORTED)
    return [name for name in (next(names, None) for names in known) if name is not None] if records else []


def _value(record: Record, name: str) -> float | None:
    value = (record.result or {}).get(str(record.config.get("selection")), {}).get(name)
    return None if value is None or isnan(value) else float(value)
