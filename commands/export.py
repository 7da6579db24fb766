"""`python main.py export [with WORDS] [--out DIR]`: recorded runs as event files for TensorBoard.

WORDS select the runs, as for `results`. Each run gets a folder; exporting a run again replaces it.

Examples:
  python main.py export with colored_mnist --out tensorboard
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debiaslab.analysis.png_artifacts import read_png_artifacts
from debiaslab.analysis.tensorboard import write_events
from debiaslab.commands.run_query import RunWords, find_records, read_run_query
from debiaslab.commands.words import word
from debiaslab.core.console import left_out, show
from debiaslab.core.errors import UserError
from debiaslab.recording.recorder import scalars


@dataclass(frozen=True, kw_only=True)
class ExportWords(RunWords):
    out: str = word("output folder, same as --out", "tensorboard")
    images: bool = word("export the images as well", True)


WORDS = ExportWords


def run(updates: Sequence[str]) -> None:
    """Write the event files. Raises `UserError`."""
    asked = read_run_query(updates, ExportWords)
    folder = Path(asked.words.out)
    written = 0
    for record in find_records(asked.query, asked.log_dir):
        try:
            history = record.history()
        except UserError as error:
            left_out(error)
            continue
        pictures, problems = read_png_artifacts(record) if asked.words.images else ({}, [])
        for problem in problems:
            left_out(problem)
        last_phase = history.evaluations[-1].phase if history.evaluations else ""
        points = [(evaluation.step, scalars(history, evaluation, last_phase)) for evaluation in history.evaluations]
        write_events(folder / record.id, record, points, pictures)
        written += 1
    if not written:
        raise UserError("nothing exported: none of these runs has evaluations that can be read")
    show(f"{folder}: {written} runs; to view them: tensorboard --logdir {shlex.quote(str(folder))}")
