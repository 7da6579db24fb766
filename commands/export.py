"""`python main.py export [with WORDS] [--out DIR]`: recorded runs as event files for TensorBoard.

WORDS choose the runs, as for `results`. out=DIR (or --out DIR) gets a folder for each run, `tensorboard` unless said;
images=False leaves the pictures out. What was exported before of the same runs is replaced.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from debiaslab.analysis.png_artifacts import read_png_artifacts
from debiaslab.analysis.tensorboard import write_events
from debiaslab.commands.question import found_records, read_question, yes_or_no
from debiaslab.core.console import left_out, show
from debiaslab.core.errors import UserError
from debiaslab.recording.recorder import scalars

WORDS = ("out", "images")


def answer(updates: Sequence[str]) -> None:
    """Write the event files. Raises `UserError`."""
    question = read_question(updates, WORDS)
    images = yes_or_no("images", question.words.get("images", "True"))
    folder = Path(question.words.get("out", "tensorboard"))
    written = 0
    for record in found_records(question):
        try:
            history = record.history()
        except UserError as error:
            left_out(error)
            continue
        pictures, problems = read_png_artifacts(record) if images else ({}, [])
        for problem in problems:
            left_out(problem)
        last_phase = history.evaluations[-1].phase if history.evaluations else ""
        points = [(evaluation.step, scalars(history, evaluation, last_phase)) for evaluation in history.evaluations]
        write_events(folder / record.id, record, points, pictures)
        written += 1
    if not written:
        raise UserError("nothing exported: none of these runs has evaluations that can be read")
    show(f"{folder}: {written} runs; to see them: tensorboard --logdir {shlex.quote(str(folder))}")
