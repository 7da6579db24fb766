"""Peak resident memory of whole runs on Colored MNIST: training, evaluation and record, one process per run.

Two epochs of every phase; longer runs need no more memory.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.results import ROOT
from benchmarks.side_by_side import Row

LIMIT = 1.2e9 / 2**30  # GiB
# a small process in between, because a new process starts with its parent's peak
MEASURE = """if True:
    import resource, subprocess, sys
    subprocess.run(sys.argv[1:], capture_output=True, check=True)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
METHODS = ("erm", "lff", "disent", "denetdm")
SHORT = ("colored_mnist", "published", "severity4", "skewed4", "epochs=2", "num_steps=None")


def run() -> list[Row]:
    root = Path(os.environ.get("DEBIAS_DATA", "data")).absolute()
    if not (root / "MNIST").is_dir():
        print(f"no MNIST in {root}: name its folder with DEBIAS_DATA")
        return []
    rows = []
    for method in METHODS:
        with TemporaryDirectory() as folder:
            words = (*SHORT, f"method={method}", f"data.root={root}", f"log_dir={folder}")
            peak = peak_of([sys.executable, str(ROOT / "main.py"), "with", *words])
        rows.append(Row(name=f"a run of {method}", unit="GiB at most", ours=peak, against="goal", baseline=LIMIT))
    return rows


def peak_of(command: list[str]) -> float:
    """Return the peak resident memory of a command in GiB (Linux)."""
    measured = [sys.executable, "-c", MEASURE, *command]
    return int(subprocess.run(measured, cwd=ROOT, capture_output=True, check=True, text=True).stdout) / 2**20
