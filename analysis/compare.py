"""Results of recorded runs side by side: `python -m analysis.compare RUN [RUN...]`.

RUN is a run's folder, or a folder of runs. Exit code 2 if a folder has no complete run.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from analysis.result import COLUMNS, extra_splits, percent, title_of, why_unknown
from core.errors import UserError
from training.selection import RULES, parse_rule


@dataclass(frozen=True)
class RecordedRun:
    """A complete run: its folder, configuration and result (rule -> values)."""

    folder: Path
    config: dict[str, Any]
    result: dict[str, dict[str, Any]]


def read_run(folder: Path) -> RecordedRun:
    """Raises `UserError` if `folder` is not the record of a complete run."""
    try:
        run = json.loads((folder / "run.json").read_text())
        config = json.loads((folder / "config.json").read_text())
        status, result = run["status"], run.get("result")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} is not the record of a run: {error}") from None
    if status != "COMPLETED" or not isinstance(result, dict):
        raise UserError(f"the run in {folder} is not complete: {status}")
    return RecordedRun(folder, config, result)


def runs_in(folder: Path) -> list[RecordedRun]:
    """The run recorded in `folder`, or all complete ones in its subfolders, oldest first. Raises `UserError`."""
    if (folder / "run.json").exists():
        return [read_run(folder)]
    runs = []
    for file in sorted(folder.glob("*/run.json")):
        try:
            runs.append(read_run(file.parent))
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not runs:
        raise UserError(f"no complete run in {folder}")
    return runs


def run_table(run: RecordedRun) -> Table:
    """Test accuracies in percent: a row for each metric, and for each extra split; a column for each rule."""
    reason = why_unknown(next(iter(run.result.values())), "test")
    caption = "\n".join([f"{run.folder.name}, seed {run.config['seed']}", *([reason] if reason else [])])
    table = Table(title=title_of(run.config), caption=caption)
    table.add_column("test accuracy (%)")
    for rule in run.result:
        label = parse_rule(rule, True, "rule").label if rule in RULES else rule
        table.add_column(label.replace(" (", "\n("), justify="right")
    for metric, name in COLUMNS.items():
        table.add_row(name, *(percent(values.get(f"test/{metric}")) for values in run.result.values()))
    for split in extra_splits(next(iter(run.result.values()))):
        accuracies = (percent(values.get(f"{split}/accuracy")) for values in run.result.values())
        table.add_row(f"{split}: {COLUMNS['accuracy']}", *accuracies)
    return table


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        runs = [run for argument in arguments for run in runs_in(Path(argument))]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    Console(width=None if sys.stdout.isatty() else 120).print(Columns([run_table(run) for run in runs]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
