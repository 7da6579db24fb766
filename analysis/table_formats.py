"""Format tables of results for the terminal, and as Markdown, LaTeX and CSV.

Names and notes come from untrusted records, and are escaped in every format.
"""

import csv
import html
import io
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from debiaslab.analysis.tables import Cell, Comparison, ResultTable
from debiaslab.core.console import new_table, printable


def as_terminal(table: ResultTable) -> Table:
    shown = new_table(table.title, "\n".join(table.notes) or None)
    header, *lines = as_rows(table, str, " +- ", "\n")
    shown.add_column(header[0], no_wrap=True)
    for name in header[1:]:
        shown.add_column(name.replace(", ", "\n"), justify="right")
    for line in lines:
        shown.add_row(*line)
    return shown


def as_rows(table: ResultTable, escape: Callable[[str], str], plus_minus: str, line_break: str) -> list[list[str]]:
    """Header and a row for each method: our mean with its spread and n, then the published number and how far ours is
    from it. `escape` is applied to all names."""
    header = ["method"]
    for column in table.columns:
        header += [escape(column), *([escape(f"p, against {table.base}")] if table.base is not None else [])]
    rows = [header]
    for row in table.rows:
        texts = [escape(row)]
        for column in table.columns:
            cell, published = table.cells.get((row, column)), table.published.get((row, column))
            shown = None if cell is None else shown_mean(table, (row, column), cell, plus_minus)
            parts = [] if cell is None else [f"{shown} (n={len(cell.values)})"]
            if cell is not None and published is not None:
                parts.append(f"paper {published.text(plus_minus)} ({cell.mean - published.mean:+.2f})")
            texts.append(line_break.join(parts) or "-")
            if table.base is not None:
                test = table.tests.get((row, column))
                texts.append(shown_p(test))
        rows.append(texts)
    return rows


def shown_mean(table: ResultTable, place: tuple[str, str], cell: Cell, plus_minus: str) -> str:
    """The mean with its spread, or with its interval, if the table has those."""
    if table.intervals is None:
        return cell.text(plus_minus)
    interval = table.intervals.get(place)
    ends = "-" if interval is None else f"{interval[0]:.2f}, {interval[1]:.2f}"
    return f"{cell.mean:.2f} [{ends}]"


def shown_p(test: Comparison | None) -> str:
    """p, corrected where there are several tests; "-" without a test."""
    if test is None or test.p != test.p:
        return "-"
    return f"{test.p:.3g}" + (f" (Holm {test.p_holm:.3g})" if test.count > 1 else "")


def one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Escape markup, HTML and cell separators in Markdown. Underscores within a word need no escape."""
    text = re.sub(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w)|^[-+#>])", r"\\\1", html.escape(one_line(text), quote=False))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", text)


def as_markdown(table: ResultTable) -> str:
    header, *lines = as_rows(table, escape_markdown, " ± ", "<br>")
    rule = ["---"] + ["---:"] * (len(header) - 1)
    rows = ["| " + " | ".join(line) + " |" for line in [header, rule, *lines]]
    notes = [f"\n{escape_markdown(note)}" for note in table.notes]
    return "\n".join([f"**{escape_markdown(table.title)}**\n", *rows, *notes]) + "\n"


LATEX: dict[str, str | int | None] = {character: f"\\{character}" for character in "&%$#_{}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def escape_latex(text: str) -> str:
    return one_line(text).translate(str.maketrans(LATEX))


def as_latex(table: ResultTable) -> str:
    """A booktabs table; its caption is the title."""
    header, *lines = as_rows(table, escape_latex, r" $\pm$ ", "; ")
    body = [" & ".join(line) + r" \\" for line in lines]
    columns = "l" + "r" * (len(header) - 1)
    top = [
        *(f"% {one_line(note)}" for note in table.notes),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
    ]
    return "\n".join([*top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def escape_csv(text: str) -> str:
    """Escape text that a spreadsheet would take for a formula."""
    line = one_line(text)
    return f"'{line}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) or line.startswith(tuple("=+-@")) else line


LABEL_COLUMNS = ("labels_training", "labels_selection", "labels_evaluation", "validation")


SURE_COLUMNS = ("low", "high", "against", "difference", "p", "p_holm", "pairs")


def _how_sure(table: ResultTable, place: tuple[str, str]) -> list[Any]:
    """`SURE_COLUMNS` of a cell: "" where they were not asked for, "-" where they cannot be had."""
    ends: list[Any] = ["", ""]
    if table.intervals is not None:
        interval = table.intervals.get(place)
        ends = ["-", "-"] if interval is None else [f"{end:.4f}" for end in interval]
    test = table.tests.get(place)
    if test is None:
        return [*ends, *[""] * 5]
    p = ["-" if value != value else f"{value:.6g}" for value in (test.p, test.p_holm)]
    return [*ends, escape_csv(test.base), f"{test.difference:.4f}", *p, test.pairs]


def as_csv(table: ResultTable) -> str:
    """A line for each cell, with its notes, the versions of the code and the ids of its runs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    paper_columns = ["published", "published_std", "source"]
    columns = [
        "metric",
        "rule",
        "method",
        "data",
        "mean",
        "std",
        "n",
        *paper_columns,
        *LABEL_COLUMNS,
        *SURE_COLUMNS,
        "notes",
        "code",
        "runs",
    ]
    writer.writerow(columns)
    for (row, column), cell in table.cells.items():
        published = table.published.get((row, column))
        paper: list[Any] = [published.mean, published.std, published.source] if published else ["", "", ""]
        std = "" if len(cell.values) < 2 else f"{cell.std:.4f}"
        ours = [f"{cell.mean:.4f}", std, len(cell.values)]
        runs = ["; ".join(table.facts.get((row, column), [])), " ".join(cell.code), " ".join(cell.ids)]
        names = map(escape_csv, [table.metric, table.rule, row, column])
        labels = ["-" if value is None else value for value in asdict(table.labels[row, column]).values()]
        writer.writerow([*names, *ours, *paper, *labels, *_how_sure(table, (row, column)), *map(escape_csv, runs)])
    return text.getvalue()


FORMATS: dict[str, Callable[[ResultTable], Any]] = {
    "terminal": as_terminal,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
