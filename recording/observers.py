"""Sacred's observers, made safe: atomic files, unique ids, and a MongoDB that may die without taking the run along."""

import hashlib
import json
import os
import secrets
import sys
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import gridfs
import pymongo
from pymongo.errors import PyMongoError
from sacred.observers import FileStorageObserver, MongoObserver
from sacred.serializer import flatten

from core.errors import UserError
from core.files import atomic_write
from core.mongo import MONGO_TIMEOUT_MS, MONGO_URL, parse_address, reason, without_password

STATE = "resume.safetensors"  # in a run's folder until the run is complete


def new_run_id() -> str:
    """An id that no other run has, on any machine: start time and four random hexadecimal digits."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class FileRecord(FileStorageObserver):
    """A folder per run under `basedir`; every file is replaced as a whole, so a kill leaves the last complete one."""

    def __init__(self, basedir: str) -> None:
        super().__init__(basedir, priority=40)  # before MongoDB's 30: the folder gives both their run id
        self.failures: dict[str, UserError] = {}  # file -> why its last version is not there

    def started_event(self, ex_info, command, host_info, start_time, config, meta_info, _id):  # type: ignore[no-untyped-def]
        event = (ex_info, command, host_info, start_time, config, meta_info)
        while _id is None or Path(self.basedir, str(_id)).exists():
            _id = new_run_id()
        super().started_event(*event, _id=_id)
        return _id

    def save_json(self, obj: Any, filename: str) -> None:
        try:
            with atomic_write(Path(self.dir) / filename) as temporary:
                temporary.write_text(json.dumps(flatten(obj), sort_keys=True, indent=2))
            self.failures.pop(filename, None)
        except UserError as error:
            self.failures[filename] = error
            raise

    def completed_event(self, stop_time: Any, result: Any) -> None:
        super().completed_event(stop_time, result)
        (Path(self.dir) / STATE).unlink(missing_ok=True)  # the record is complete: nothing to resume

    def require_complete(self) -> None:
        """Raise the `UserError` of a file that could not be written: Sacred lets a run go on without its record."""
        for error in self.failures.values():
            raise error


class MongoRecord(MongoObserver):
    """The run in MongoDB. When the server fails in mid-run the record stops there, and the user is told, once."""

    address: str  # without a password
    failed: bool
    lock: Lock

    @classmethod
    def connect(cls, url: str) -> "MongoRecord":
        """Raises `UserError`, without the password, if the server does not answer."""
        database = writable_database(url, ", or leave them out: files are recorded in any case")
        record: MongoRecord = cls.create_from(
            database.runs, gridfs.GridFS(database), metrics_collection=database.metrics
        )
        record.address, record.failed, record.lock = without_password(url), False, Lock()
        return record

    def save_sources(self, ex_info: Any) -> list[list[Any]]:
        """[name, GridFS id] of each source file. A version of a file is stored once, however many runs have it."""
        base = Path(ex_info["base_dir"])
        return [[name, stored_once(self.fs, base / name, (base / name).read_bytes())] for name, _ in ex_info["sources"]]

    def _unless_failed(self, event: str, *args: Any, **kwargs: Any) -> None:
        with self.lock:  # heartbeats come from a thread of their own
            if self.failed:
                return
            try:
                getattr(super(), event)(*args, **kwargs)
            except PyMongoError as error:
                self.failed = True
                what = f"MongoDB at {self.address} failed ({reason(error)})"
                print(f"{what}: this run goes on, recorded in files only", file=sys.stderr)

    def heartbeat_event(self, *args: Any, **kwargs: Any) -> None:
        self._unless_failed("heartbeat_event", *args, **kwargs)

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self._unless_failed("log_metrics", *args, **kwargs)

    def artifact_event(self, *args: Any, **kwargs: Any) -> None:
        self._unless_failed("artifact_event", *args, **kwargs)

    def resource_event(self, *args: Any, **kwargs: Any) -> None:
        self._unless_failed("resource_event", *args, **kwargs)

    def completed_event(self, *args: Any, **kwargs: Any) -> None:
        self._unless_failed("completed_event", *args, **kwargs)

    def interrupted_event(self, *args: Any, **kwargs: Any) -> None:
        self._unless_failed("interrupted_event", *args, **kwargs)

    def failed_event(self, *args: Any, **kwargs: Any) -> None:
        self._unless_failed("failed_event", *args, **kwargs)

    def save(self) -> None:
        self.runs.update_one({"_id": self.run_entry["_id"]}, {"$set": self.run_entry})

    def final_save(self, attempts: int) -> None:
        """Sacred's own writes a pickle into the temporary folder when it fails; here the files are the safe copy."""
        self.runs.update_one({"_id": self.run_entry["_id"]}, {"$set": self.run_entry}, upsert=True)


def writable_database(url: str, otherwise: str = "") -> Any:
    """The database at `url`. Raises `UserError`, without the password, if it cannot be written; it ends with what the
    user may do `otherwise`."""
    address, name = parse_address(url)
    try:
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(
            address, serverSelectionTimeoutMS=MONGO_TIMEOUT_MS, connectTimeoutMS=MONGO_TIMEOUT_MS, tz_aware=False
        )
        probe = client[name].connection_probe  # a ping alone would not need the right to write
        probe.delete_one({"_id": probe.insert_one({}).inserted_id})
    except PyMongoError as error:
        raise UserError(
            f"MongoDB at {without_password(url)} cannot be used ({reason(error)}); start one with `make mongo`,"
            f" correct -m or {MONGO_URL}{otherwise}"
        ) from None
    return client[name]


def stored_once(files: gridfs.GridFS, path: Path, content: bytes) -> Any:
    """The GridFS id of the source file `path` with this content, which is stored if it is not there yet."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    found = files.find_one({"filename": str(path), "md5": digest})
    return files.put(content, filename=str(path), md5=digest) if found is None else found._id


def content_type(name: str) -> str:
    """The content type of a run's file, for those who show it."""
    return "image/png" if name.endswith(".png") else "application/octet-stream"


def mongo_from_environment() -> MongoRecord | None:
    """The record in the MongoDB that the environment names, if it names one."""
    url = os.environ.get(MONGO_URL)
    return MongoRecord.connect(url) if url else None
