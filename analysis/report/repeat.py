"""The command line that repeats a recorded run."""

import ast
import shlex
from typing import Any

from debiaslab.analysis.records import Record
from debiaslab.core.program import program_name
from debiaslab.core.settings import flattened
from debiaslab.settings.declared import without_effect_on_results


def command_line(record: Record) -> str:
    """All settings of the run that its result depends on, so that later defaults change nothing.

    Folders, device and the like are left to the machine.
    """
    ignored = without_effect_on_results()
    words = [f"{name}={_as_typed(value)}" for name, value in sorted(flattened(record.config)) if name not in ignored]
    first = ("data.name=", "method.name=", "model.name=")  # what the settings that follow belong to
    words.sort(key=lambda word: not word.startswith(first))
    if not record.trained:
        words = [*words, f"checkpoint={record.config.get('checkpoint')}"]
        return f"{program_name()} evaluate with {shlex.join(words)}"
    return f"{program_name()} with {shlex.join(words)}"


def _as_typed(value: Any) -> str:
    """`value` as it is typed: text that would be read as something else, in quotes."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)
