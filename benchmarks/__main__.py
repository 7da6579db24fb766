"""Command line: `python -m benchmarks [NAME...]`; without a name, all of them."""

import debiaslab.core  # noqa: F401 (first: it sets what torch reads when it is imported)

# isort: split
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from benchmarks.results import ROOT, save, show
from benchmarks.side_by_side import Row
from debiaslab.core.errors import UserError, require_known

# each a module with `run()`, which is imported when it is called
BENCHMARKS = (
    "denetdm",
    "lff",
    "running_losses",
    "resnet18",
    "resnet18_224",
    "start_up",
    "loading",
    "building",
    "corruptions",
    "queries",
    "scaling",
    "seeds",
    "memory",
    "resized_crops",
    "video_reading",
    "gpu",
)


def main(names: Sequence[str]) -> int:
    try:
        for name in names:
            require_known("benchmark", name, BENCHMARKS)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"--- {name}")
        load = os.getloadavg()[0]
        run = cast(Callable[[], Sequence[Row]], import_module(f"benchmarks.{name}").run)
        rows = run()
        if rows:
            show(rows)
            print(f"written to {save(name, rows, load).relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
