"""The commands of `main.py` that ask recorded runs or start several: each a file with `answer(updates)`.

Those that are one Sacred run (train, evaluate, inspect) are in `main.py`.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

# command -> its module, which is imported when it is called: starting a run needs none of them
COMMANDS = {
    "export": "commands.export",
    "report": "commands.report",
    "results": "commands.results",
}


def answer(command: str, updates: Sequence[str]) -> None:
    """Carry out one of `COMMANDS`, given the words after `with`. Raises `UserError`."""
    call = cast(Callable[[Sequence[str]], None], import_module(COMMANDS[command]).answer)
    call(updates)
