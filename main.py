"""Command line: train or evaluate a debiasing method, with a permanent record.

python main.py with colored_mnist severity4 method=denetdm
python main.py --help
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # sets up the process, then imports this module as debiaslab.main
    from debiaslab.__main__ import main

    sys.exit(main())

from debiaslab import commands
from debiaslab.commands import evaluate as _evaluate  # noqa: F401 (a command of the experiment)
from debiaslab.commands import inspect as _inspect  # noqa: F401
from debiaslab.commands import train as _train  # noqa: F401
from debiaslab.commands.runs import prepare
from debiaslab.config import ex, set_up_sacred
from debiaslab.core.process import set_up_torch
from debiaslab.core.program import PROCESS
from debiaslab.recording.command_line import run_command_line

ex.doc = __doc__  # what --help shows


def run(arguments: list[str]) -> int:
    """Run the command line `arguments` and return the exit code."""
    set_up_torch()
    set_up_sacred()
    if len(arguments) == 2 and arguments[0] == PROCESS:
        from debiaslab.commands import rank

        return rank.run(Path(arguments[1]))
    return run_command_line(ex, commands.for_parser(arguments), prepare, commands)
