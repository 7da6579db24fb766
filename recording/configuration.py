"""The configuration that a run would have, without starting it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sacred import Experiment
from sacred.initialize import create_run
from sacred.serializer import flatten

from debiaslab.recording.updates import read_updates
from debiaslab.settings.setup import check


def configuration(ex: Experiment, words: Sequence[str]) -> dict[str, Any]:
    """The nested configuration of `main.py with WORDS`, checked. Raises `UserError` for whatever is wrong in it."""
    config = unchecked_configuration(ex, words)
    check(config)
    return config


def unchecked_configuration(ex: Experiment, words: Sequence[str]) -> dict[str, Any]:
    """The same where more is known than these words say, or less has to be right.

    Raises `UserError` for words that are none, and for a name that the rest depends on.
    """
    settings, named_configs = read_updates(ex, list(words))
    return dict(create_run(ex, "print_config", settings, named_configs, force=True).config)


def as_recorded(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as a record holds it: with the values of its JSON file."""
    recorded: dict[str, Any] = json.loads(json.dumps(flatten(config)))
    return recorded
