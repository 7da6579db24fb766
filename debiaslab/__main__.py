"""`python main.py ...`, `python -m debiaslab ...` and the command `debiaslab` all start here."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from debiaslab.core import process
from debiaslab.core.program import SERVE


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up this process, then run the command line `arguments` (None: its own). Returns the exit code."""
    if find_spec("fcntl") is None:
        print(
            "error: this system has no POSIX file locks; use Linux or macOS, on Windows inside WSL 2", file=sys.stderr
        )
        return 2
    words = list(sys.argv[1:] if arguments is None else arguments)
    with process.starting():
        from debiaslab.main import run  # imported here: the process is to be set up first

    if words[:1] == [SERVE]:
        from debiaslab.recording.fork_server import wait_for_run

        words = wait_for_run(int(words[1]))  # goes on in a process for each run
    return run(words)


if __name__ == "__main__":
    sys.exit(main())
