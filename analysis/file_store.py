"""Runs in a folder of records, with an index for fast queries over thousands of them."""

import gc
import json
import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from debiaslab.analysis import record_index
from debiaslab.analysis.query import Query, require_known_settings
from debiaslab.analysis.record_index import Row, index_in_memory, open_index
from debiaslab.analysis.records import Record, Store, record_of
from debiaslab.analysis.schema import BAD_ID, damaged, is_run_id, require_entry, require_run
from debiaslab.core.errors import UserError

INDEX = ".index.sqlite"
# the parts of run.json in the index; the rest is large and never queried
KEPT = ("command", "status", "start_time", "stop_time", "heartbeat", "result")
SOURCES = "_sources"  # folder among the records, with copies of source files

RUN_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # unless the user named it


class FileStore(Store):
    """The runs in the subfolders of `folder`. Every `find` updates the index."""

    def __init__(self, folder: Path) -> None:
        """Raises `UserError` if there is no such folder."""
        if not os.path.isdir(folder):
            raise UserError(f"no folder of records {folder}; name one with log_dir=DIR")
        self.folder = folder
        self.problems: list[str] = []

    def find(self, query: Query) -> list[Record]:
        try:
            return self._find(query, open_index(self.folder / INDEX))
        except sqlite3.Error:  # it could not be updated: locked, read-only, or on a full disk
            return self._find(query, index_in_memory())

    def _find(self, query: Query, opened: sqlite3.Connection) -> list[Record]:
        with closing(opened) as index:
            unreadable = self._update(index)
            self.problems = [*unreadable, *record_index.problems(index)]
            rows = record_index.search(index, query)
            with no_garbage():
                configs, entries = (_parsed([row[column] for row in rows]) for column in (1, 2))
                records = [
                    record_of(entry, config, entry["info"], run_id, self)
                    for (run_id, _, _), config, entry in zip(rows, configs, entries, strict=True)
                ]
            found = [run for run in records if query.matches(run.id, run.config, run.status, run.start)]
            if not found:
                require_known_settings(query, map(json.loads, record_index.configs(index)))
        return sorted(found, key=lambda record: (str(record.start), record.id))

    def artifact(self, record: Record, name: str) -> bytes:
        return read_inside(self.folder / record.id, name)

    def artifact_names(self, record: Record) -> list[str]:
        return [str(name) for name in self.entry(record).get("artifacts", [])]

    def entry(self, record: Record) -> dict[str, Any]:
        return read_entry(self.folder / record.id)

    def sources(self, record: Record) -> dict[str, bytes]:
        links = self.entry(record).get("experiment", {}).get("sources", [])
        return {name: read_file(source_path(self.folder, place)) for name, place in links}

    def checksums(self, record: Record) -> dict[str, str]:
        try:
            sources = json.loads((self.folder / record.id / "run.json").read_text())["experiment"]["sources"]
            # a copy is named after file and checksum: _sources/loop_<checksum>.py
            return {name: Path(copy).stem.rpartition("_")[2] for name, copy in sources}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    # ---- the index

    def _update(self, index: sqlite3.Connection) -> list[str]:
        """Update the index; returns a line for each record that cannot be indexed."""
        try:
            entries = [entry for entry in os.scandir(self.folder) if _may_be_run(entry)]
        except OSError as error:
            raise UserError(f"cannot read the folder of records {self.folder}: {error.strerror}") from None
        now = {entry.name: stamp for entry in entries if (stamp := _stamp(entry.path)) is not None}
        unreadable = [str(damaged(self.folder / name, BAD_ID)) for name in now if not is_run_id(name)]
        now = {name: stamp for name, stamp in now.items() if is_run_id(name)}
        known = record_index.stamps(index)
        changed = [self._row(run_id, stamp) for run_id, stamp in now.items() if known.get(run_id) != stamp]
        gone = [run_id for run_id in known if run_id not in now]
        if changed or gone:
            record_index.change(index, gone, changed)
        return unreadable

    def _row(self, run_id: str, stamp: str) -> Row:
        folder = self.folder / run_id
        try:
            run, config = read_json(folder, "run.json"), read_json(folder, "config.json")
            info = read_json(folder, "info.json") if os.path.lexists(folder / "info.json") else {}
            require_run(run, config, info, folder)
            entry = {name: run[name] for name in KEPT if name in run} | {"info": info}
            return run_id, stamp, json.dumps(config), json.dumps(entry), None
        except UserError as error:
            return run_id, stamp, None, None, str(error)


@contextmanager
def no_garbage() -> Iterator[None]:
    """Turn off garbage collection within the block, which creates many objects that all stay alive."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _may_be_run(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith((".", "_")) and entry.is_dir()


def _stamp(folder: str) -> str | None:
    """Changes whenever the record does: a run writes its run.json at every heartbeat and at its end.

    None for a folder that is not a record: it has neither the name of a record nor its files.
    """
    try:
        facts = os.stat(f"{folder}/run.json")
    except OSError:
        named_so = RUN_NAME.fullmatch(os.path.basename(folder))
        return "none" if named_so or os.path.exists(f"{folder}/config.json") else None
    return f"{facts.st_mtime_ns}/{facts.st_size}"


def _parsed(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Parse JSON texts; as one array, so that they share their keys, which takes less time and memory."""
    objects: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
    return objects


# ---- the files of a record


def path_inside(folder: Path, name: str) -> Path:
    """The file `name` in `folder`.

    Raises `UserError` unless it is a regular file inside it: a foreign record may contain any path or link.
    """
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"cannot read {path}: it is outside of the folder")
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"cannot read {path}: it is not a file")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RuntimeError) as error:  # a name with a zero byte; links in a circle
        raise UserError(f"cannot read {path}: {error}") from None
    return path


def source_path(log_dir: Path, place: Any) -> Path:
    """The copy of a source file, from its place among the records in `log_dir`. Raises `UserError`."""
    folder, _, name = str(place).partition("/")
    if folder != SOURCES:
        raise UserError(f"cannot read {log_dir / str(place)}: copies of source files are in {SOURCES}")
    return path_inside(log_dir / SOURCES, name)


def read_inside(folder: Path, name: str) -> bytes:
    """Read the file `path_inside(folder, name)`. Raises `UserError`."""
    return read_file(path_inside(folder, name))


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of the record in `folder`. Raises `UserError` if it is missing or damaged."""
    try:
        value = json.loads(read_inside(folder, name))
    except UserError as error:
        raise damaged(folder, str(error)) from None
    except (ValueError, RecursionError) as error:
        raise damaged(folder, f"{name}: {error}") from None
    if not isinstance(value, dict):
        raise damaged(folder, f"{name} contains no settings")
    return value


def read_entry(folder: Path) -> dict[str, Any]:
    """Read Sacred's entry of the run in `folder`. Raises `UserError` if it is missing or damaged."""
    entry = read_json(folder, "run.json")
    require_entry(entry, folder)
    return entry
