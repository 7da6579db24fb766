"""The leaderboard as plain values, with the numbers and groups of `analysis.tables`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas

from debiaslab.analysis.certainty import with_tests
from debiaslab.analysis.published_numbers import PublishedNumber, notes_on_papers
from debiaslab.analysis.records import Record, without_trials
from debiaslab.analysis.result import COLUMNS, GAP_COLUMNS
from debiaslab.analysis.statistics import t_interval
from debiaslab.analysis.table_formats import format_p
from debiaslab.analysis.table_names import column_names, row_names
from debiaslab.analysis.tables import Cell, Comparison, ResultTable, fill_table
from debiaslab.core.errors import UserError, require_known
from debiaslab.evaluation.metrics import METRICS
from debiaslab.evaluation.outcomes import OUTCOME_METRICS, is_lower_better, scale_of
from debiaslab.evaluation.selection import CHOSEN_ON_TEST, RULES, parse_rule
from debiaslab.settings.declared import variant_of

PLUS_MINUS = " ± "
PERCENT = 95  # of intervals


def leaderboard(records: Sequence[Record], frame: pandas.DataFrame, against: str | None = None) -> dict[str, Any]:
    """Return rows, columns, rules, metrics, and the cells for each rule and metric, for the page.

    `frame` is the `results_frame` of the runs under all rules. Rows and columns are those of all runs with a result,
    for all rules; runs that evaluated the weights of others, and trials of searches (`without_trials`), are left out.
    Cells refer to runs by their index in `records`. `against` is the row that the others are tested against; raises
    `UserError` if there is no such row.
    """
    trained = {record.id for record in without_trials(records) if record.trained}
    frame = frame[frame["id"].isin(trained)] if len(frame) else frame
    if frame.empty:
        return {"rows": [], "columns": [], "rules": [], "metrics": [], "tables": {}}
    place = {record.id: position for position, record in enumerate(records)}
    with_result = [record for record in records if record.id in set(frame["id"])]
    row_of, column_of = row_names(with_result), column_names(with_result)
    rows = list(dict.fromkeys(row_of[record.id] for record in with_result))
    columns = sorted(set(column_of.values()))
    if against is not None:
        require_known("row", against, rows, "against=")
    metrics = [name for name in _sort_metrics(frame.columns) if frame[name].notna().any()]
    rules = [rule for rule in RULES if (frame["rule"] == rule).any()]
    tables: dict[str, dict[str, Any]] = {}
    for rule in rules:
        chosen = frame[frame["rule"] == rule]
        kept = [records[place[run_id]] for run_id in chosen["id"]]
        for metric in metrics:
            values = dict(zip(chosen["id"], chosen[metric], strict=True))
            try:
                table = fill_table(kept, row_of, column_of, values, rule, metric)
            except UserError:  # no run has this metric under this rule
                continue
            if against in table.rows:
                table = with_tests(table, str(against))
            tables.setdefault(rule, {})[metric] = _cells(table, rows, columns, place)
    return {
        "rows": _describe(rows, with_result, row_of, lambda config: {"method": config["method"]["name"]}),
        "columns": _describe(columns, with_result, column_of, _data_facts),
        "rules": [_rule_facts(rule) for rule in tables],
        "metrics": [_metric_facts(name) for name in metrics],
        "tables": tables,
    }


def _sort_metrics(names: Sequence[str]) -> list[str]:
    """The metrics among the names of columns, those of the test images first, as they are shown elsewhere."""
    order = [*COLUMNS, *(metric for metric in (*METRICS, *OUTCOME_METRICS) if metric not in COLUMNS)]

    def rank(name: str) -> tuple[int, str, int]:
        split, metric = name.split("/")
        return {"test": 0, "valid": 2}.get(split, 1), split, order.index(metric) if metric in order else len(order)

    return sorted((name for name in names if "/" in name), key=rank)


def metric_label(name: str) -> str:
    """The display name of a metric: "test, worst group" for "test/worst_group"."""
    split, metric = name.split("/")
    return f"{split}, {(COLUMNS | GAP_COLUMNS).get(metric, metric.replace('_', ' '))}"


def _metric_facts(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": metric_label(name),
        "unit": scale_of(name)[1],
        "lower": is_lower_better(name),
    }


def _rule_facts(name: str) -> dict[str, Any]:
    rule = parse_rule(name, True, "rule")
    return {"name": name, "label": rule.label, "oracle": rule.split == "test"}


def _describe(
    names: Sequence[str], records: Sequence[Record], name_of: Mapping[str, str], facts: Callable[[Any], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each name with the facts that its runs share."""
    first = {name_of[record.id]: record for record in reversed(records)}
    return [{"name": name, **facts(first[name].config)} for name in names]


def _data_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    data = config["data"]
    return {
        "data": data["name"],
        "variant": variant_of(data),
        "protocol": data["protocol"],
        "limit": config.get("evaluate_images"),
    }


def _cells(
    table: ResultTable, rows: Sequence[str], columns: Sequence[str], place: Mapping[str, int]
) -> list[dict[str, Any]]:
    return [
        {
            "row": rows.index(row),
            "column": columns.index(column),
            "mean": round(cell.mean, 6),
            "text": cell.text(PLUS_MINUS),
            "runs": [place[run_id] for run_id in cell.ids],
            "values": [f"{value:.2f}" for value in cell.values],
            **_certainty(cell, table.tests.get((row, column))),
            **_paper_beside(cell, table.published.get((row, column))),
            "labels": table.labels[row, column].text(),
            **_notes_of_cell(table.facts[row, column]),
        }
        for (row, column), cell in table.cells.items()
    ]


def _certainty(cell: Cell, test: Comparison | None) -> dict[str, str]:
    """The interval of a mean over several seeds, and its test against another row."""
    facts = {}
    interval = t_interval(cell.values, PERCENT)
    if interval is not None:
        low, high = interval
        facts["interval"] = f"{PERCENT} % interval of the mean: {low:.2f} to {high:.2f} (Student's t over seeds)"
    if test is not None:
        facts["p"] = f"p {format_p(test)}"
        pairs = f"paired t-test, {test.pairs} seeds"
        facts["test"] = f"Minus {test.base}: {test.difference:+.2f} points, {test.text()} ({pairs})"
    return facts


def _paper_beside(cell: Cell, published: PublishedNumber | None) -> dict[str, Any]:
    if published is None:
        return {}
    difference = f"{cell.mean - published.mean:+.2f}"
    (how,) = notes_on_papers([published.source]) or [""]
    source = {"source": published.source, "how": how}
    return {"paper": {"text": published.text(PLUS_MINUS), "difference": difference, **source}}


def _notes_of_cell(facts: Sequence[str]) -> dict[str, Any]:
    """The notes on a cell, without those on rules that select on test images, which the page shows for each run."""
    notes = [fact for fact in facts if not fact.endswith(CHOSEN_ON_TEST)]
    return {"notes": notes} if notes else {}
