"""The configuration that a run would have, without starting it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sacred import Experiment
from sacred.initialize import create_run
from sacred.serializer import flatten

from debiaslab.recording.command_line import read_updates


def configuration(ex: Experiment, words: Sequence[str], command: str = "print_config") -> dict[str, Any]:
    """The nested configuration of `main.py COMMAND with WORDS`, checked as that command checks it, and not by Sacred.

    Raises `UserError` for whatever is wrong in it.
    """
    settings, named_configs = read_updates(ex, list(words))
    return dict(create_run(ex, command, settings, named_configs, force=True).config)


def as_recorded(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as a record holds it: with the values of its JSON file."""
    recorded: dict[str, Any] = json.loads(json.dumps(flatten(config)))
    return recorded
