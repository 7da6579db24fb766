"""The command line that repeats a recorded run."""

import ast
import shlex
from typing import Any

from debiaslab.analysis.records import Record
from debiaslab.core.program import program_name
from debiaslab.core.settings import flatten
from debiaslab.settings.declared import without_effect_on_results


def command_line(record: Record) -> str:
    """The command with all settings that the result depends on, so that later changes of defaults have no effect.

    Folders, device and the like are left out.
    """
    ignored = without_effect_on_results()
    words = [f"{name}={_as_typed(value)}" for name, value in sorted(flatten(record.config)) if name not in ignored]
    first = ("data.name=", "method.name=", "model.name=")  # they determine the other settings
    words.sort(key=lambda word: not word.startswith(first))
    if not record.trained:
        words = [*words, f"checkpoint={record.config.get('checkpoint')}"]
        return f"{program_name()} evaluate with {shlex.join(words)}"
    return f"{program_name()} with {shlex.join(words)}"


def _as_typed(value: Any) -> str:
    """Format `value` for the command line, quoting text that would be parsed as another type."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)
