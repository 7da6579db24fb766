"""Compute the configuration of a run without starting it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sacred import Experiment
from sacred.initialize import create_run
from sacred.serializer import flatten

from debiaslab.recording.updates import read_updates
from debiaslab.settings.setup import check


def configuration(ex: Experiment, words: Sequence[str]) -> dict[str, Any]:
    """The checked, nested configuration of `main.py with WORDS`. Raises `UserError` for any mistake."""
    config = unchecked_configuration(ex, words)
    check(config)
    return config


def unchecked_configuration(ex: Experiment, words: Sequence[str]) -> dict[str, Any]:
    """The same without the checks, for callers that add to it or need only a part.

    Raises `UserError` for words that cannot be parsed, and for unknown names that other settings depend on.
    """
    settings, named_configs = read_updates(ex, list(words))
    with without_sources(ex):
        return dict(create_run(ex, "print_config", settings, named_configs, force=True).config)


@contextmanager
def without_sources(ex: Experiment) -> Iterator[None]:
    """Make Sacred list no source files for runs created within the block: that takes longer than the configuration."""
    sources, ex.sources = ex.sources, set()
    try:
        yield
    finally:
        ex.sources = sources


def as_recorded(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it is recorded: after a round trip through JSON."""
    recorded: dict[str, Any] = json.loads(json.dumps(flatten(config)))
    return recorded
