"""LfF's documented command, `python train.py with server_user colored_mnist skewed3 severity4`: main.py with LfF."""

import sys

from debiaslab.commands.runs import prepare
from debiaslab.config import ex
from debiaslab.recording.command_line import run_command_line


def with_lff(arguments: list[str]) -> list[str]:
    """`arguments` with method=lff, unless they choose a method themselves."""
    if any(argument.startswith(("method=", "method.name=")) for argument in arguments):
        return arguments
    return [*arguments, *([] if "with" in arguments else ["with"]), "method=lff"]


if __name__ == "__main__":
    sys.exit(run_command_line(ex, with_lff(sys.argv[1:]), prepare))
