"""Format tables of results for the terminal, and as Markdown, LaTeX and CSV.

Names and notes come from untrusted records, and are escaped in every format.
"""

import csv
import html
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from debiaslab.analysis.tables import Cell, Comparison, Place, ResultTable
from debiaslab.core.console import new_table, printable


def as_terminal(table: ResultTable) -> Table:
    return terminal_table(table.title, table.notes, as_rows(table, TERMINAL))


def terminal_table(title: str, notes: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table of `rows`, the header first, with `notes` below it."""
    shown = new_table(title, "\n".join(notes) or None)
    header, *lines = rows
    shown.add_column(header[0], no_wrap=True)
    for name in header[1:]:
        shown.add_column(name.replace(", ", "\n"), justify="right")
    for line in lines:
        shown.add_row(*line)
    return shown


@dataclass(frozen=True)
class Style:
    """How a format writes text: `escape` is applied to names, `bold` to the best mean of a column."""

    escape: Callable[[str], str]
    plus_minus: str
    line_break: str
    bold: Callable[[str], str]


def as_rows(table: ResultTable, style: Style) -> list[list[str]]:
    """Return the header and a row per method: our mean with spread and n, the published number and the difference."""
    escape = style.escape
    header = ["method"]
    for column in table.columns:
        header += [escape(column), *([escape(f"p, against {table.base}")] if table.base is not None else [])]
    rows = [header]
    for row in table.rows:
        texts = [escape(row)]
        for column in table.columns:
            cell, published = table.cells.get((row, column)), table.published.get((row, column))
            parts = []
            if cell is not None:
                mean = format_mean(table, (row, column), cell, style.plus_minus)
                parts.append(f"{style.bold(mean) if (row, column) in table.best else mean} (n={len(cell.values)})")
            if cell is not None and published is not None:
                parts.append(f"paper {published.text(style.plus_minus)} ({cell.mean - published.mean:+.2f})")
            texts.append(style.line_break.join(parts) or "-")
            if table.base is not None:
                texts.append(format_p(table.tests.get((row, column))))
        rows.append(texts)
    return rows


def format_mean(table: ResultTable, place: Place, cell: Cell, plus_minus: str) -> str:
    """Return the mean with its interval if the table has intervals, else with its standard deviation."""
    if table.intervals is None:
        return cell.text(plus_minus)
    interval = table.intervals.get(place)
    ends = "-" if interval is None else f"{interval[0]:.2f}, {interval[1]:.2f}"
    return f"{cell.mean:.2f} [{ends}]"


def format_p(test: Comparison | None) -> str:
    """Return p, also corrected if there are several tests; "-" without a test."""
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
    return markdown_table(table.title, table.notes, as_rows(table, MARKDOWN))


def markdown_table(title: str, notes: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format escaped `rows`, the header first, with `title` above and `notes` below, which are escaped here."""
    header, *lines = rows
    rule = ["---"] + ["---:"] * (len(header) - 1)
    body = ["| " + " | ".join(line) + " |" for line in [header, rule, *lines]]
    below = [f"\n{escape_markdown(note)}" for note in notes]
    return "\n".join([f"**{escape_markdown(title)}**\n", *body, *below]) + "\n"


ESCAPED_LATEX: dict[str, str | int | None] = {character: f"\\{character}" for character in "&%$#_{}"}
ESCAPED_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
ESCAPED_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", '"': "''", "[": "{[}", "]": "{]}"}


def escape_latex(text: str) -> str:
    """Escape special characters in LaTeX. Letters that pdfLaTeX may lack become ASCII, or "?"."""
    plain = "".join(each if ord(each) < 256 else ascii_only(each) for each in one_line(text))
    return plain.translate(str.maketrans(ESCAPED_LATEX))


def ascii_only(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "?"


def as_latex(table: ResultTable) -> str:
    """Return a booktabs table; its caption is the title."""
    comments = [r"needs \usepackage{booktabs}", *map(one_line, table.notes)]
    return latex_table(table.title, comments, as_rows(table, LATEX), table.label)


def latex_table(title: str, comments: Sequence[str], rows: Sequence[Sequence[str]], label: str | None = None) -> str:
    """Format escaped `rows`, the header first, as a booktabs table with `title`, escaped here, as its caption.

    `comments` are lines above it, written as they are.
    """
    header, *body = [" & ".join(row) + r" \\" for row in rows]
    columns = "l" + "r" * (len(rows[0]) - 1)
    top = [
        *(f"% {comment}" for comment in comments),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(title)}}}",
        *([] if label is None else [rf"\label{{{label}}}"]),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        header,
    ]
    return "\n".join([*top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def escape_csv(text: str) -> str:
    """Escape text that a spreadsheet would take for a formula."""
    line = one_line(text)
    return f"'{line}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) or line.startswith(tuple("=+-@")) else line


LABEL_COLUMNS = ("labels_training", "labels_selection", "labels_evaluation", "validation")
TEST_COLUMNS = ("low", "high", "against", "difference", "p", "p_holm", "pairs")
CSV_COLUMNS = (
    *("metric", "rule", "method", "data", "mean", "std", "n", "published", "published_std", "source"),
    *LABEL_COLUMNS,
    *TEST_COLUMNS,
    *("code", "runs"),
)


def as_csv(*tables: ResultTable) -> str:
    """Return a CSV with a row per cell of all `tables`; the column `notes` is there if any of them shows notes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    with_notes = any(table.has_notes for table in tables)
    writer.writerow([*CSV_COLUMNS, *(["notes"] if with_notes else [])])
    for table in tables:
        for row, column in table.cells:
            notes = [escape_csv("; ".join(table.facts.get((row, column), [])))] if with_notes else []
            writer.writerow([*_csv_row(table, (row, column)), *notes])
    return text.getvalue()


def _csv_row(table: ResultTable, place: Place) -> list[Any]:
    """`CSV_COLUMNS` of a cell."""
    row, column = place
    cell, published = table.cells[place], table.published.get(place)
    paper: list[Any] = [published.mean, published.std, published.source] if published else ["", "", ""]
    std = "" if len(cell.values) < 2 else f"{cell.std:.4f}"
    labels = ["-" if value is None else value for value in asdict(table.labels[place]).values()]
    return [
        *map(escape_csv, (table.metric_of(column), table.rule, row, column)),
        *(f"{cell.mean:.4f}", std, len(cell.values)),
        *paper,
        *labels,
        *_csv_tests(table, place),
        *map(escape_csv, (" ".join(cell.code), " ".join(cell.ids))),
    ]


def _csv_tests(table: ResultTable, place: Place) -> list[Any]:
    """`TEST_COLUMNS` of a cell: "" if not requested, "-" if there are too few seeds."""
    ends: list[Any] = ["", ""]
    if table.intervals is not None:
        interval = table.intervals.get(place)
        ends = ["-", "-"] if interval is None else [f"{end:.4f}" for end in interval]
    test = table.tests.get(place)
    if test is None:
        return [*ends, *[""] * 5]
    p = ["-" if value != value else f"{value:.6g}" for value in (test.p, test.p_holm)]
    return [*ends, escape_csv(test.base), f"{test.difference:.4f}", *p, test.pairs]


TERMINAL = Style(str, " +- ", "\n", lambda mean: f"{mean} *")
MARKDOWN = Style(escape_markdown, " ± ", "<br>", lambda mean: f"**{mean}**")
LATEX = Style(escape_latex, r" $\pm$ ", "; ", lambda mean: rf"\textbf{{{mean}}}")
FORMATS: dict[str, Callable[[ResultTable], Any]] = {
    "terminal": as_terminal,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
