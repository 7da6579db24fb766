"""Lay tables of results out for a paper: names, order of rows, best values, several metrics side by side."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from debiaslab.analysis.tables import Place, ResultTable
from debiaslab.core.errors import UserError, require_known
from debiaslab.evaluation.outcomes import is_lower_better

V = TypeVar("V")


@dataclass(frozen=True)
class Layout:
    """How tables are shown.

    `names` maps methods, rows, data sets and metrics to the names to show. `order` lists the methods that come first.
    `bold` marks the best mean of each column. `published` shows the papers' numbers, `notes` the notes. `caption` and
    `label` are those of a single table.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    order: Sequence[str] = ()
    bold: bool = False
    published: bool = True
    notes: bool = True
    caption: str | None = None
    label: str | None = None


def side_by_side(tables: Sequence[ResultTable]) -> ResultTable:
    """Join tables of several metrics under one rule: a column for each of their columns and metrics."""
    if len(tables) == 1:
        return tables[0]
    places = [
        (table, column, f"{column}, {table.metric}")
        for column in sorted({column for table in tables for column in table.columns})
        for table in tables
        if column in table.columns
    ]

    def join(values: Callable[[ResultTable], Mapping[Place, V]]) -> dict[Place, V]:
        return {
            (row, name): value
            for table, column, name in places
            for (row, own), value in values(table).items()
            if own == column
        }

    facts: dict[Place, list[str]] = {}
    for table in tables:
        for place, texts in table.facts.items():
            facts.setdefault(place, []).extend(text for text in texts if text not in facts.get(place, []))
    first = tables[0]
    return replace(
        first,
        metric=", ".join(table.metric for table in tables),
        rows=tuple(dict.fromkeys(row for table in tables for row in table.rows)),
        columns=tuple(name for *_, name in places),
        column_metrics={name: table.metric for table, _, name in places},
        cells=join(lambda table: table.cells),
        published=join(lambda table: table.published),
        facts=facts,
        labels={place: labels for table in tables for place, labels in table.labels.items()},
        remarks=list(dict.fromkeys(remark for table in tables for remark in table.remarks)),
        intervals=None if first.intervals is None else join(lambda table: table.intervals or {}),
        tests=join(lambda table: table.tests),
    )


def lay_out(table: ResultTable, layout: Layout) -> ResultTable:
    """Apply `layout` to `table`. Raises `UserError` for methods and names that the table does not have."""
    methods = {row: row.partition(" (")[0] for row in table.rows}
    parts = {part for column in table.columns for part in column.split(", ")}
    known = dict.fromkeys((*methods.values(), *table.rows, *sorted(parts)))
    for name in layout.names:
        require_known("name", name, known, "names=")
    for method in layout.order:
        require_known("method", method, dict.fromkeys(methods.values()), "order=")
    position = {method: index for index, method in enumerate(layout.order)}
    rows = sorted(table.rows, key=lambda row: position.get(methods[row], len(position)))
    ordered = replace(
        table,
        rows=tuple(rows),
        best=best_places(table) if layout.bold else frozenset(),
        published=table.published if layout.published else {},
        remarks=table.remarks if layout.published else [text for text in table.remarks if text not in table.on_papers],
        has_notes=layout.notes,
        caption=layout.caption,
        label=layout.label,
    )
    return _rename(ordered, layout.names) if layout.names else ordered


def best_places(table: ResultTable) -> frozenset[Place]:
    """Return the places of the best mean of each column that has several."""
    best = set()
    for column in table.columns:
        means = {row: table.cells[row, column].mean for row in table.rows if (row, column) in table.cells}
        if len(means) > 1:
            target = (min if is_lower_better(table.metric_of(column)) else max)(means.values())
            best |= {(row, column) for row, mean in means.items() if mean == target}
    return frozenset(best)


def _rename(table: ResultTable, names: Mapping[str, str]) -> ResultTable:
    def row_name(row: str) -> str:
        method, bracket, settings = row.partition(" (")
        return names.get(row) or names.get(method, method) + bracket + settings

    def column_name(column: str) -> str:
        return ", ".join(names.get(part, part) for part in column.split(", "))

    def rename(values: Mapping[Place, V]) -> dict[Place, V]:
        return {(row_name(row), column_name(column)): value for (row, column), value in values.items()}

    rows, columns = tuple(map(row_name, table.rows)), tuple(map(column_name, table.columns))
    _require_distinct(rows)
    _require_distinct(columns)
    return replace(
        table,
        rows=rows,
        columns=columns,
        column_metrics={column_name(column): metric for column, metric in table.column_metrics.items()},
        cells=rename(table.cells),
        published=rename(table.published),
        facts=rename(table.facts),
        labels=rename(table.labels),
        intervals=None if table.intervals is None else rename(table.intervals),
        base=None if table.base is None else row_name(table.base),
        tests={place: replace(test, base=row_name(test.base)) for place, test in rename(table.tests).items()},
        best=frozenset(rename(dict.fromkeys(table.best))),
    )


def _require_distinct(names: Collection[str]) -> None:
    for name in names:
        if list(names).count(name) > 1:
            raise UserError(f"names=: {name!r} would be the name of several rows or columns; choose different names")
