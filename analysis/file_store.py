"""Runs in a folder of records, with an index that makes thousands of them quick to search."""

import gc
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from debiaslab.analysis.query import Query, require_known_settings
from debiaslab.analysis.records import Record, Store, record_of
from debiaslab.core.errors import UserError
from debiaslab.core.sharing import share
from debiaslab.settings.declared import earlier_values

INDEX = ".index.sqlite"
VERSION = 3  # of the index; raise it with every change of what is in it
SCHEMA = "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, stamp TEXT, config TEXT, entry TEXT, problem TEXT)"
# what the index keeps of run.json; the rest is large and not asked for
KEPT = ("command", "status", "start_time", "stop_time", "heartbeat", "result")

RUN_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # unless the user named it

Row = tuple[str, str, str | None, str | None, str | None]  # as in SCHEMA


class FileStore(Store):
    """The runs in the subfolders of `folder`. The index is brought up to date with the folder by every `find`."""

    def __init__(self, folder: Path) -> None:
        """Raises `UserError` if there is no such folder."""
        if not folder.is_dir():
            raise UserError(f"no folder of records {folder}; name one with log_dir=DIR")
        self.folder = folder
        self.problems: list[str] = []

    def find(self, query: Query) -> list[Record]:
        with closing(self._open()) as index:
            self._update(index)
            self.problems = [problem for (problem,) in index.execute("SELECT problem FROM runs WHERE problem NOT NULL")]
            conditions, values = _conditions(query)
            rows = index.execute(f"SELECT id, config, entry FROM runs WHERE {conditions}", values).fetchall()
            ids = [row[0] for row in rows]
            with no_garbage():
                configs, entries = (_parsed([row[column] for row in rows]) for column in (1, 2))
                records = list(map(self._record, ids, configs, entries))
            found = [run for run in records if query.matches(run.id, run.config, run.status, run.start)]
            if not found:
                every = index.execute("SELECT config FROM runs WHERE problem IS NULL")
                require_known_settings(query, (json.loads(config) for (config,) in every))
        return sorted(found, key=lambda record: (str(record.start), record.id))

    def artifact(self, record: Record, name: str) -> bytes:
        try:
            return (self.folder / record.id / name).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {self.folder / record.id / name}: {error.strerror}") from None

    def artifact_names(self, record: Record) -> list[str]:
        return [str(name) for name in self.entry(record).get("artifacts", [])]

    def entry(self, record: Record) -> dict[str, Any]:
        return read_json(self.folder / record.id / "run.json")

    def sources(self, record: Record) -> dict[str, bytes]:
        links = self.entry(record).get("experiment", {}).get("sources", [])
        try:
            return {name: (self.folder / place).read_bytes() for name, place in links}
        except OSError as error:
            raise UserError(f"cannot read {error.filename}, code of the run {record.id}: {error.strerror}") from None

    def _record(self, run_id: str, config: Mapping[str, Any], entry: Mapping[str, Any]) -> Record:
        return record_of(entry, config, entry["info"], run_id, self)

    # ---- the index

    def _open(self) -> sqlite3.Connection:
        """The index; in memory where the folder cannot be written or the file is none."""
        try:
            index = sqlite3.connect(self.folder / INDEX, timeout=30)
            if index.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                index.execute("DROP TABLE IF EXISTS runs")
            index.execute(SCHEMA)
            index.execute(f"PRAGMA user_version = {VERSION}")
            share(self.folder / INDEX)
        except sqlite3.Error:
            index = sqlite3.connect(":memory:")
            index.execute(SCHEMA)
        return index

    def _update(self, index: sqlite3.Connection) -> None:
        known = dict(index.execute("SELECT id, stamp FROM runs").fetchall())
        entries = [entry for entry in os.scandir(self.folder) if _may_be_run(entry)]
        stamps = {entry.name: stamp for entry in entries if (stamp := _stamp(entry.path)) is not None}
        changed = [run_id for run_id, stamp in stamps.items() if known.get(run_id) != stamp]
        gone = [(run_id,) for run_id in known if run_id not in stamps]
        with index:
            index.executemany("DELETE FROM runs WHERE id = ?", gone)
            rows = (self._row(run_id, stamps[run_id]) for run_id in changed)
            index.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)", rows)

    def _row(self, run_id: str, stamp: str) -> Row:
        folder = self.folder / run_id
        try:
            run, config = read_json(folder / "run.json"), read_json(folder / "config.json")
            entry = {name: run[name] for name in KEPT if name in run}
            entry["info"] = read_json(folder / "info.json") if (folder / "info.json").exists() else {}
            self._record(run_id, config, entry)  # refuses a damaged one
            return run_id, stamp, json.dumps(config, allow_nan=False), json.dumps(entry, allow_nan=False), None
        except UserError as error:
            return run_id, stamp, None, None, str(error)
        except ValueError:  # which SQLite's conditions would fail on
            return run_id, stamp, None, None, f"the record {folder} is damaged: a number in it is not finite"


@contextmanager
def no_garbage() -> Iterator[None]:
    """Within the block, Python does not look for garbage: among many objects that all stay, it would at every turn."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _conditions(query: Query) -> tuple[str, list[Any]]:
    """SQL that leaves out most of what `query` does not ask for; `Query.matches` decides."""
    terms, values = ["problem IS NULL"], []
    earlier = earlier_values()
    for name, value in query.settings.items():
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            path = "$." + ".".join(f'"{part}"' for part in name.split("."))
            terms.append("coalesce(json_extract(config, ?), ?) = ?")
            values += [path, earlier.get(name), value]
    if query.status is not None:
        terms.append("json_extract(entry, '$.status') = ?")
        values.append(query.status)
    if query.ids is not None:
        terms.append(f"id IN ({', '.join('?' * len(query.ids))})")
        values += query.ids
    return " AND ".join(terms), values


def _may_be_run(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith((".", "_")) and entry.is_dir()


def _stamp(folder: str) -> str | None:
    """Changes whenever the record does: a run writes its run.json at every heartbeat and at its end.

    None for a folder that is no record, such as one of images: it has neither a record's name nor its files.
    """
    try:
        stat = os.stat(f"{folder}/run.json")
    except OSError:
        named_so = RUN_NAME.fullmatch(os.path.basename(folder))
        return "none" if named_so or os.path.exists(f"{folder}/config.json") else None
    return f"{stat.st_mtime_ns}/{stat.st_size}"


def _parsed(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The objects that JSON texts hold; parsed as one, they share their names, which takes less time and memory."""
    objects: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
    return objects


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a record. Raises `UserError` if it is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"the record {path.parent} is damaged: {path.name}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"the record {path.parent} is damaged: {path.name}: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"the record {path.parent} is damaged: {path.name} holds no settings")
    return value
