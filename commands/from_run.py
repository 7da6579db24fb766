"""Settings of a run that starts from a recorded one: the record's, overridden by those typed."""

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

OTHER_IMAGES = {"csv": ("images",), "images": ("csv", "columns")}  # of `custom`: settings that a typed one replaces


def typed_settings(settings: Mapping[str, Any], named_configs: Sequence[str]) -> dict[str, Any]:
    """Return all typed settings, nested: those of the named configurations, overridden by `settings`."""
    for name in named_configs:
        settings = merge(NAMED_CONFIGS[name][1], settings)
    return dict(settings)


def find_source(command: str, ids: Sequence[str], typed: Mapping[str, Any]) -> tuple[Record, dict[str, Any]]:
    """Find the run that `command` starts from; returns it, and its settings overridden by those `typed`.

    The new run is not a trial of a search, and has the best settings of one only if it is the same run, resumed. It is
    recorded next to the source if that was given as a folder. If another data set is typed, no data settings are taken
    from the source. Raises `UserError` if there is no such run, or it is of another method.
    """
    source = only_name(ids, f"{command} RUN")
    log_dir = str(typed.get("log_dir", DEFAULT_LOG_DIR))
    record = find_one_run(source, log_dir)
    marks = TRIAL_SETTINGS if command != "resume" or record.config.get("tuned") is None else ()
    own = dict.fromkeys(("resume", "checkpoint", *marks)) | {"train": True}
    settings = merge(record.config, own | {"log_dir": folder_for(source, log_dir)})
    name = merge(settings, typed)["data"].get("name")
    if name != record.config["data"]["name"]:
        settings["data"] = {}
    settings = merge(settings, typed)
    for setting, replaced in OTHER_IMAGES.items():
        if typed.get("data", {}).get(setting) is not None:
            settings["data"] |= {name: typed["data"].get(name) for name in replaced if name in settings["data"]}
    method = record.config["method"]["name"]
    if settings["method"]["name"] != method:
        raise UserError(
            f"method={settings['method']['name']}: the run {record.id} is of method={method}, and its weights fit no"
            " other; leave method= out"
        )
    return record, settings


def folder_for(name: str, log_dir: str) -> str:
    """Return the folder of the new record: next to the source if that was given as a folder, else `log_dir`."""
    path = Path(name)
    return os.path.relpath(os.path.dirname(os.path.realpath(path))) if (path / "run.json").exists() else log_dir


def files_of(record: Record) -> Path:
    """Return the folder of the run's files, which may not exist."""
    if isinstance(record.store, FileStore):
        folder = Path(record.store.folder)
    else:
        folder = Path(str(record.config.get("log_dir", DEFAULT_LOG_DIR)))
    return Path(os.path.relpath(folder / record.id))
