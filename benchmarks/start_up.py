"""Start-up: processor seconds of `print_config` and of a smoke run on the coloured digits, beside importing torch.

Processor time of whole single-threaded processes, which ignores other load on the machine.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from tempfile import gettempdir

from benchmarks.results import ROOT
from benchmarks.side_by_side import Row, SideBySide, compare

SMOKE = ("-u", "with", "digits", "smoke", f"data.root={gettempdir()}/debiaslab-benchmark")


def run() -> list[Row]:
    commands = {"print_config": ("print_config",), "a smoke run": SMOKE}
    return [
        compare(
            SideBySide(
                name=name,
                ours=partial(process, "-m", "debiaslab", *words),
                baseline=partial(process, "-c", "import torch"),
                against="import torch",
                unit="s of a processor",
                clock=children_seconds,
                memory=False,
            )
        )
        for name, words in commands.items()
    ]


def process(*arguments: str) -> Callable[[], object]:
    """Run Python with these arguments, discard its output, and wait for it."""
    command, environment = [sys.executable, *arguments], os.environ | {"OMP_NUM_THREADS": "1"}
    return lambda: subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def children_seconds() -> float:
    """Return the processor seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
