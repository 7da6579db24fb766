"""Command line: `python -m benchmarks [NAME...]`; without a name, all of them."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from debiaslab.core import process
from debiaslab.core.errors import UserError, require_known

# name -> what it measures; each is a module with `run()`, imported when it is called
BENCHMARKS = {
    "denetdm": "DeNetDM on Colored MNIST: an epoch of each phase, against the style of the authors' code",
    "lff": "LfF and DisEnt on Colored MNIST: a step, against the style of the authors' code",
    "running_losses": "the per-sample losses of LfF and DisEnt, against a loop over classes",
    "resnet18": "LfF with ResNet-18 on 32 x 32 pixels: a step, against a plain PyTorch loop",
    "resnet18_224": "ResNet-18 at 224 x 224 pixels: a step, against a plain PyTorch loop",
    "start_up": "print_config and a smoke run, against importing torch",
    "loading": "images of BAR: building the cache, opening and reading it, against a DataLoader",
    "video_reading": "videos: checking them, and reading clips for training and tests",
    "building": "building Colored MNIST and Corrupted CIFAR-10, against code for one image at a time",
    "queries": "queries of 10,000 recorded runs",
    "scaling": "how time grows with training images, test images and runs",
    "seeds": "several seeds trained as one, against one after the other",
    "memory": "peak memory of whole runs",
    "gpu": "whole trainings on a GPU, and the share of kernels in a step",
}


def main(arguments: Sequence[str]) -> int:
    listing = "\n".join(f"  {name:<15} {question}" for name, question in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the speed of this machine, and write benchmarks/results/NAME.json.",
        epilog=f"benchmarks (all of them if none is named):\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*")
    names = parser.parse_args(arguments).names
    try:
        for name in names:
            require_known("benchmark", name, BENCHMARKS)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with process.starting():
        from benchmarks.results import ROOT, save, show
        from benchmarks.side_by_side import Row
    process.set_up_torch()
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
