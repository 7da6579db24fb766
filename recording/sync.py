"""Copy file records into MongoDB: the same documents, metrics and files that a live observer writes."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gridfs
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from debiaslab.analysis.file_store import path_inside, read_file, read_inside, read_json, source_path
from debiaslab.analysis.schema import damaged, require_entry, require_metrics, require_run
from debiaslab.core.errors import UserError
from debiaslab.core.mongo import reason, without_password
from debiaslab.evaluation.history import EVALUATIONS
from debiaslab.recording.mongo_record import MongoRecord, document_id, store_once, writable_database
from debiaslab.recording.observers import content_type

# results of a copy
COPIED, COMPLETED, THERE, LIVE = "copied", "completed", "already there", "running, and up to date within seconds"

TIMES = ("start_time", "stop_time", "heartbeat")
# a run that records in MongoDB writes at every heartbeat, 10 seconds apart, just after it has written its files
LIVE_LAG = timedelta(seconds=30)
LIVE_SILENCE = timedelta(seconds=60)


class MongoCopy:
    """Copies file records into the database at a URL, in the syntax of `main.py -m`."""

    def __init__(self, url: str) -> None:
        """Raises `UserError` if the database cannot be written."""
        self.address = without_password(url)
        self.database = writable_database(url)
        self.files = gridfs.GridFS(self.database)
        self.sources: dict[tuple[Path, Path], Any] = {}  # (original path, copy in the folder) -> GridFS id
        try:
            self.database.metrics.create_index([("run_id", 1), ("name", 1)])  # readers use it as well
        except PyMongoError as error:
            raise copy_failure(self.address, error) from None

    def copy(self, folder: Path) -> str:
        """Bring the copy of the record in `folder` up to date; returns `COPIED`, `COMPLETED`, `THERE` or `LIVE`.

        The run's document is written last, so that the next copy continues an interrupted one. If MongoDB has a later
        state than the files, it is not changed. Raises `UserError` for a damaged record, and pymongo's errors if
        MongoDB fails.
        """
        entry, series = run_entry(folder), metric_series(folder)
        try:
            return self._copy(folder, entry, series)
        except (BSONError, OverflowError, UnicodeError) as error:
            raise UserError(f"the record {folder} does not fit into MongoDB: {error}") from None

    def _copy(self, folder: Path, entry: dict[str, Any], series: Mapping[str, dict[str, Any]]) -> str:
        entry["_id"] = document_id(self.database, folder.name)
        found = self.database.runs.find_one({"_id": entry["_id"]})
        if found is not None:
            require_entry(found, f"{entry['_id']} in MongoDB")
        if found is not None and is_ahead(found, entry):
            return THERE
        if found is not None and may_be_live(found, entry):
            return LIVE
        links, changed = self._copy_metrics(entry["_id"], series)
        entry["info"] |= {"metrics": links} if links else {}
        entry["experiment"]["sources"] = self._copy_sources(folder, entry, found)
        entry["artifacts"], outdated = self._copy_artifacts(folder, entry, found)
        if found is None or not all(same(found.get(name), value) for name, value in entry.items()):
            self.database.runs.update_one({"_id": entry["_id"]}, {"$set": entry}, upsert=True)
            changed = True
        for file_id in outdated:
            self.files.delete(file_id)
        if found is None:
            return COPIED
        return COMPLETED if changed or outdated else THERE

    def _copy_metrics(self, run_id: Any, series: Mapping[str, dict[str, Any]]) -> tuple[list[dict[str, str]], bool]:
        """([{"name", "id"}] of the metrics' documents, in the order of logging; whether any was outdated)."""
        metrics = self.database.metrics
        found = {document["name"]: document for document in metrics.find({"run_id": run_id})}
        links, changed = [], False
        for name, wanted in series.items():
            document = found.get(name, {})
            if any(not same(document.get(key), value) for key, value in wanted.items()):
                done = metrics.update_one({"run_id": run_id, "name": name}, {"$set": wanted}, upsert=True)
                document, changed = document or {"_id": done.upserted_id}, True
            links.append({"name": name, "id": str(document["_id"])})
        return links, changed

    def _copy_sources(self, folder: Path, entry: Mapping[str, Any], found: Mapping[str, Any] | None) -> list[list[Any]]:
        """[name, GridFS id] of each source file."""
        recorded = entry["experiment"]["sources"]
        there = [] if found is None else found.get("experiment", {}).get("sources", [])
        if [name for name, _ in there] == [name for name, _ in recorded]:
            return [list(link) for link in there]
        base, links = Path(entry["experiment"]["base_dir"]), []
        for name, place in recorded:
            key = (base / name, source_path(folder.parent, place))
            if key not in self.sources:
                self.sources[key] = store_once(self.files, key[0], read_file(key[1]))
            links.append([name, self.sources[key]])
        return links

    def _copy_artifacts(
        self, folder: Path, entry: Mapping[str, Any], found: Mapping[str, Any] | None
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        """([{"name", "file_id"}] of each file of the run, GridFS ids of replaced files).

        Includes the evaluations of unfinished runs. A file that the run's document links is up to date if it has the
        size of ours: files never change, and evaluations are only appended.
        """
        names = list(dict.fromkeys(entry["artifacts"]))
        if EVALUATIONS not in names and (folder / EVALUATIONS).exists():
            names.append(EVALUATIONS)
        linked = {artifact["file_id"] for artifact in (found or {}).get("artifacts", [])}
        prefix = f"artifact://runs/{entry['_id']}/"
        stored: dict[str, list[Any]] = {name: [] for name in names}
        for file in self.database.fs.files.find({"filename": {"$in": [prefix + name for name in names]}}):
            stored[file["filename"].removeprefix(prefix)].append(file)
        links, outdated = [], []
        for name, files in stored.items():
            path = path_inside(folder, name)
            size = path.stat().st_size
            kept = next((file["_id"] for file in files if file["_id"] in linked and file["length"] == size), None)
            if kept is None:
                kept = self._put_once(prefix + name, read_file(path), files)
            outdated += [file["_id"] for file in files if file["_id"] != kept]
            links.append({"name": name, "file_id": kept})
        return links, outdated

    def _put_once(self, filename: str, content: bytes, stored: Sequence[Mapping[str, Any]]) -> Any:
        """Store `content`, unless an interrupted copy has `stored` it, and return its GridFS id."""
        for file in stored:
            if file["length"] == len(content) and self.files.get(file["_id"]).read() == content:
                return file["_id"]
        return self.files.put(content, filename=filename, metadata=None, content_type=content_type(filename))


def run_entry(folder: Path) -> dict[str, Any]:
    """The run's document as a live observer writes it, except that sources, artifacts and metrics still refer to the
    files. Raises `UserError` for a damaged record."""
    run, config = read_json(folder, "run.json"), read_json(folder, "config.json")
    info = read_json(folder, "info.json") if os.path.lexists(folder / "info.json") else {}
    require_run(run, config, info, folder)
    try:
        _ = run["start_time"], run["artifacts"], run["experiment"]["base_dir"], run["experiment"]["sources"]
        times = {name: time_of(run[name]) if run[name] else None for name in TIMES if name in run}
    except KeyError as error:
        raise damaged(folder, f"run.json lacks {error}") from None
    try:
        for name in run["artifacts"]:
            path_inside(folder, name)
        for _, place in run["experiment"]["sources"]:
            source_path(folder.parent, place)
        output = read_inside(folder, "cout.txt") if os.path.lexists(folder / "cout.txt") else b""
    except UserError as error:
        raise damaged(folder, str(error)) from None
    return {
        **run,
        **times,
        "run_id": folder.name,
        "format": MongoRecord.VERSION,
        "config": config,
        "info": {name: value for name, value in info.items() if name != "metrics"},
        "captured_out": output.decode(errors="replace"),
    }


def metric_series(folder: Path) -> dict[str, dict[str, Any]]:
    """Metric -> its steps, values and times, in the order of first logging. Raises `UserError` for a damaged record."""
    recorded = read_json(folder, "metrics.json") if os.path.lexists(folder / "metrics.json") else {}
    require_metrics(recorded, folder)
    return {
        name: {
            "steps": list(metric["steps"]),
            "values": list(metric["values"]),
            "timestamps": [time_of(text) for text in metric["timestamps"]],
        }
        for name, metric in sorted(recorded.items(), key=lambda item: str(item[1]["timestamps"][:1]))
    }


def may_be_live(found: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether the run may be running and writing to MongoDB itself, which a copy must not disturb."""
    if found.get("status") != "RUNNING" or entry["status"] != "RUNNING":
        return False
    there, here = last_sign(found), last_sign(entry)
    now = datetime.now(UTC).replace(tzinfo=None)
    return here - there < LIVE_LAG and now - here < LIVE_SILENCE


def last_sign(run: Mapping[str, Any]) -> datetime:
    """The time of a run's last sign of life."""
    sign: datetime = run.get("heartbeat") or run["start_time"]
    return sign


def is_ahead(found: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether MongoDB has a later state of the run than the files, for instance if these come from a backup."""
    if found.get("stop_time") and not entry.get("stop_time"):
        return True
    there, here = found.get("heartbeat"), entry.get("heartbeat")
    return there is not None and (here is None or there > here)


def time_of(text: str) -> datetime:
    """A recorded time (UTC) in MongoDB's resolution of milliseconds."""
    time = datetime.fromisoformat(text)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def same(found: Any, wanted: Any) -> bool:
    """Whether two values of a document are equal, whatever the order of their entries; NaN equals itself."""
    return json.dumps(found, sort_keys=True, default=str) == json.dumps(wanted, sort_keys=True, default=str)


def copy_failure(address: str, error: PyMongoError) -> UserError:
    return UserError(f"MongoDB at {address} failed ({reason(error)}); the next sync continues from there")
