"""Measurements as printed tables, as JSON files, and as the tables of docs/performance.md.

`python -m benchmarks.results` publishes the latest results: it copies them to docs/measurements/ and rebuilds the
tables from everything there.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import facts, measured_rates
from benchmarks.side_by_side import Row
from debiaslab.core.files import atomic_write

ROOT = Path(__file__).parents[1]
LATEST, KEPT = ROOT / "benchmarks" / "results", ROOT / "docs" / "measurements"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

HEADERS = ("what", "unit", "ours", "other", "times better", "goal", "memory (GiB)", "of roofline")


def save(name: str, rows: Sequence[Row], load_before: float) -> Path:
    """Write the rows of the benchmark `name`, with facts about the machine, to a file; returns its path."""
    rates = measured_rates(torch.get_num_threads())
    record = {
        "benchmark": name,
        **facts(),
        "load": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        "gflop_per_second": round(rates.operations / 1e9, 1),
        "gb_per_second": round(rates.bytes / 1e9, 1),
        "rows": [asdict(row) for row in rows],
    }
    LATEST.mkdir(exist_ok=True)
    path = LATEST / f"{name}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    return path


def show(rows: Sequence[Row]) -> None:
    table = Table(*HEADERS)
    for row in rows:
        table.add_row(*cells(row))
    Console(width=150, highlight=False).print(table)


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row, for the columns `HEADERS`."""
    other = "" if row.baseline is None else f"{number(row.baseline)} ({row.against})"
    extremes = "" if row.least is None else f" ({row.least:.3g} to {row.most:.3g})"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}{extremes}"
    memory = [f"{value:.2f}" for value in (row.memory, row.baseline_memory) if value is not None]
    goal = "" if row.goal is None else f"{row.goal:g}"
    roofline = "" if row.roofline is None else f"{100 * row.roofline:.0f} %"
    return row.name, row.unit, number(row.ours), other, ratio, goal, " / ".join(memory), roofline


def number(value: float) -> str:
    """Format with three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def render(records: Sequence[dict[str, Any]]) -> str:
    """Format the files of `save` as Markdown: for each benchmark the machine, date, commit and a table."""
    parts = []
    for record in records:
        device = record["gpu"] or f"{record['processor']}, {record['threads']} of {record['cores']} cores"
        commit = record["commit"][:10] if record["commit"] else "unknown"
        changed = " with changes" if record["changed"] else ""
        parts.append(
            f"### {record['benchmark']}\n\n"
            f"{device}; torch {record['torch']}, Python {record['python']}; {record['date']};"
            f" commit {commit}{changed}; load {record['load'][0]} to {record['load'][1]}. Measured rates:"
            f" {record['gflop_per_second']:,.0f} GFLOP/s (matrix product), {record['gb_per_second']:,.0f} GB/s (copy)."
            "\n\n" + markdown_table([Row(**row) for row in record["rows"]])
        )
    return "\n\n".join(parts)


def markdown_table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table without empty columns."""
    lines = [cells(row) for row in rows]
    filled = [column for column in range(len(HEADERS)) if any(line[column] for line in lines)]
    texts = [HEADERS, tuple("---" if column < 2 else "---:" for column in range(len(HEADERS))), *lines]
    return "\n".join("| " + " | ".join(line[column] for column in filled) + " |" for line in texts)


def keep() -> None:
    """Copy the latest results to `KEPT` and plots next to `PAGE`, and rewrite the tables of `PAGE` from `KEPT`."""
    KEPT.mkdir(exist_ok=True)
    for path in LATEST.glob("*.json"):
        (KEPT / path.name).write_text(path.read_text())
    for path in LATEST.glob("*.png"):
        (PAGE.parent / "images").mkdir(exist_ok=True)
        (PAGE.parent / "images" / path.name).write_bytes(path.read_bytes())
    records = [json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(records)}\n\n{END}{rest.partition(END)[2]}")
    print(f"{len(records)} measurements in {KEPT.relative_to(ROOT)}, tables in {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    keep()
