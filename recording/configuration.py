"""The configuration that a run would have, without starting it."""

from collections.abc import Sequence
from typing import Any

from sacred import Experiment
from sacred.initialize import create_run

from recording.command_line import read_updates


def configuration(ex: Experiment, words: Sequence[str], command: str = "print_config") -> dict[str, Any]:
    """The nested configuration of `main.py COMMAND with WORDS`, checked as that command checks it.

    Raises `UserError` for whatever is wrong in it.
    """
    settings, named_configs = read_updates(ex, list(words))
    return dict(create_run(ex, command, settings, named_configs).config)
