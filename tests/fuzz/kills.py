"""Runs that are killed at any moment, perhaps twice, and resumed end as one that was never disturbed, bit by bit."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from debiaslab.methods import METHODS
from debiaslab.recording.observers import STATE
from debiaslab.training.checkpoint import LAST, SELECTED
from tests.fuzz.tries import Attempt
from tests.fuzz.words import start

SETTINGS = ("digits", "epochs=4", "method.hparams.batch_size=64", "checkpoint_seconds=0")


@contextmanager
def kills(folder: Path) -> Iterator[Attempt]:
    """A training of a random method is killed, and resumed."""
    undisturbed: dict[str, tuple[Any, float]] = {}

    def attempt(random: Random, place: Path) -> tuple[str, str | None]:
        method = random.choice(list(METHODS))
        words = ["with", *SETTINGS, f"method={method}", f"data.root={folder / 'data'}"]
        if method not in undisturbed:
            whole = folder / method
            whole.mkdir()
            if not undisturbed:
                killed(["with", "digits", "smoke", *words[-2:]], whole, whole / "built", None)  # builds the data
            seconds = killed(words, whole, whole / "runs", None)
            undisturbed[method] = measured(whole / "runs"), seconds
        expected, seconds = undisturbed[method]
        moments = [random.uniform(0, 1.1 * seconds) for _ in range(random.choice((1, 1, 2)))]
        runs = place / "runs"
        for moment in (*moments, None):
            if not completed(runs):
                resume = [f"resume={file.parent}" for file in runs.glob(f"*/{STATE}")]
                killed([*words, *resume], place, runs, moment)
        found = measured(runs)
        return method, None if found == expected else f"killed after {moments} of {seconds:.1f} s: another result"

    yield attempt


def killed(words: list[str], place: Path, runs: Path, moment: float | None) -> float:
    """Run this command line, and kill it after `moment` seconds. Returns how long it has run."""
    before = time.monotonic()
    child = start([*words, f"log_dir={runs}"], place)
    child.join(moment)
    child.kill()
    child.join()
    return time.monotonic() - before


def completed(runs: Path) -> list[Path]:
    records = runs.glob("*/run.json")
    return [file.parent for file in records if json.loads(file.read_text())["status"] == "COMPLETED"]


def measured(runs: Path) -> Any:
    """Weights, evaluations and metrics of the only complete run: everything but times."""
    (record,) = completed(runs)
    metrics = json.loads((record / "metrics.json").read_text())
    return (
        *((record / name).read_bytes() for name in (LAST, SELECTED, "evaluations.jsonl")),
        {name: (metric["steps"], metric["values"]) for name, metric in metrics.items()},
    )
