"""Format rank correlations for the terminal, and as Markdown, LaTeX and CSV, as `table_formats` does tables."""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from rich.table import Table

from debiaslab.analysis.ranks import RankTable
from debiaslab.analysis.table_formats import (
    escape_csv,
    escape_latex,
    escape_markdown,
    latex_table,
    markdown_table,
    terminal_table,
)


def as_rows(table: RankTable, escape: Callable[[str], str] = str) -> list[list[str]]:
    """Header and a row for each name; `escape` is applied to all names."""
    rows = [[escape(table.of), *map(escape, table.names)]]
    for first in table.names:
        rows.append([escape(first), *(table.cells[first, second].text() for second in table.names)])
    return rows


def as_terminal(table: RankTable) -> Table:
    return terminal_table(table.title, table.notes, as_rows(table))


def as_markdown(table: RankTable) -> str:
    return markdown_table(table.title, table.notes, as_rows(table, escape_markdown))


def as_latex(table: RankTable) -> str:
    """A booktabs table; its caption is the title."""
    return latex_table(table.title, list(map(escape_latex, table.notes)), as_rows(table, escape_latex))


def as_csv(tables: Sequence[RankTable]) -> str:
    """A line for each pair of different names; `tau` is "-" where it cannot be had."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", "of", "within", "first", "second", "tau", "n", "methods"])
    for table in tables:
        for first, second in combinations(table.names, 2):
            found = table.cells[first, second]
            names = map(escape_csv, [table.metric, table.of, table.within, first, second])
            tau = "-" if found.tau != found.tau else f"{found.tau:.4f}"
            writer.writerow([*names, tau, len(found.methods), escape_csv("; ".join(found.methods))])
    return text.getvalue()


RANK_FORMATS: dict[str, Callable[[Sequence[RankTable]], list[Any]]] = {
    "terminal": lambda tables: [as_terminal(table) for table in tables],
    "markdown": lambda tables: [as_markdown(table) for table in tables],
    "latex": lambda tables: [as_latex(table) for table in tables],
    "csv": lambda tables: [as_csv(tables)],
}
