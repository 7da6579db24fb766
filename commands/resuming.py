"""Find the commands that resume runs which ended early."""

import os
from collections.abc import Sequence
from typing import Any

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.recording.command_line import command_line_of
from debiaslab.recording.observers import STATE

SHOWN = 5  # maximum number of runs to list


def resume_hints(records: Sequence[Record]) -> list[str]:
    """A line for each run that ended early and has not been resumed by another one, latest first."""
    resumed = {os.path.basename(str(record.info.get("resumed_from"))) for record in records}
    found = [(record, resume_command(record)) for record in reversed(records) if record.id not in resumed]
    lines = [f"to resume {record.id}: {command}" for record, command in found if command is not None]
    more = [f"{len(lines) - SHOWN} more can be resumed"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + more


def resume_command(record: Record) -> str | None:
    """The command line that resumes the run; None if it is complete or running, or has saved no state here."""
    if not record.has_ended_early or not isinstance(record.store, FileStore):
        return None
    folder = record.store.folder / record.id
    if not (folder / STATE).exists():
        return None
    try:
        typed: Any = record.store.entry(record).get("meta", {})["options"]["UPDATE"]
        words = [str(word) for word in typed if not str(word).startswith(("resume=", "log_dir="))]
    except (UserError, KeyError, TypeError, AttributeError):  # it was not started by a command line
        return command_line_of("resume", [], runs=[os.path.relpath(folder)])
    log_dir = str(record.config.get("log_dir", "runs"))
    here = [f"log_dir={log_dir}"] if log_dir != "runs" else []
    return command_line_of(None, [*words, *here, f"resume={os.path.relpath(folder)}"])
