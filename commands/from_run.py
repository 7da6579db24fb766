"""What a run that begins with a recorded one takes from it: its settings, and what was typed in their place."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.records import Record
from debiaslab.commands.named_runs import find_one_run, only_name
from debiaslab.commands.run_query import DEFAULT_LOG_DIR
from debiaslab.config import NAMED_CONFIGS
from debiaslab.core.errors import UserError
from debiaslab.core.settings import merge
from debiaslab.settings.run import TRIAL_SETTINGS


def typed_settings(settings: Mapping[str, Any], named_configs: Sequence[str]) -> dict[str, Any]:
    """All that was typed, as nested settings: `settings`, above those of the named configurations."""
    for name in named_configs:
        settings = merge(NAMED_CONFIGS[name][1], settings)
    return dict(settings)


def find_source(command: str, ids: Sequence[str], typed: Mapping[str, Any]) -> tuple[Record, dict[str, Any]]:
    """The run that `command` begins with, and the settings of the new one: the record's, but for those `typed`.

    It is no trial of a search. Its record stands beside the one that was named by its folder. Settings of the data are
    those typed alone where that is another data set. Raises `UserError` if there is no such run, or it is of another
    method.
    """
    source = only_name(ids, f"{command} RUN")
    log_dir = str(typed.get("log_dir", DEFAULT_LOG_DIR))
    record = find_one_run(source, log_dir)
    own = dict.fromkeys(("resume", "checkpoint", *TRIAL_SETTINGS)) | {"train": True}
    settings = merge(record.config, own | {"log_dir": folder_for(source, log_dir)})
    name = merge(settings, typed)["data"].get("name")
    if name != record.config["data"]["name"]:
        settings["data"] = {}
    settings = merge(settings, typed)
    method = record.config["method"]["name"]
    if settings["method"]["name"] != method:
        raise UserError(
            f"method={settings['method']['name']}: the run {record.id} is of method={method}, and so is what it has"
            " learnt; leave the word out"
        )
    return record, settings


def folder_for(name: str, log_dir: str) -> str:
    """The folder of the new record: beside the one that was named by its folder."""
    path = Path(name)
    return os.path.relpath(path.resolve().parent) if (path / "run.json").exists() else log_dir


def files_of(record: Record) -> Path:
    """The folder where the run has left its files, whether or not it is there."""
    if isinstance(record.store, FileStore):
        folder = Path(record.store.folder)
    else:
        folder = Path(str(record.config.get("log_dir", DEFAULT_LOG_DIR)))
    return Path(os.path.relpath(folder / record.id))
