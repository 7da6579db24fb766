"""Sacred's observers, made safe: atomic files, unique ids, and a MongoDB that may die without taking the run along."""

import json
import os
import secrets
import sys
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

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
    """The run in MongoDB. When the server fails in mid-run the record stops there, and the user is told, once.

    pymongo is imported when a run is recorded so: it takes a fifth of a second.
    """

    address: str  # without a password
    failed: bool
    lock: Lock

    @classmethod
    def connect(cls, url: str) -> "MongoRecord":
        """Raises `UserError`, without the password, if the server does not answer."""
        import gridfs
        import pymongo
        from pymongo.errors import PyMongoError

        address, database = parse_address(url)
        try:
            client: pymongo.MongoClient[Any] = pymongo.MongoClient(
                address, serverSelectionTimeoutMS=MONGO_TIMEOUT_MS, connectTimeoutMS=MONGO_TIMEOUT_MS, tz_aware=False
            )
            probe = client[database].connection_probe  # a ping alone would not need the right to write
            probe.delete_one({"_id": probe.insert_one({}).inserted_id})
        except PyMongoError as error:
            raise UserError(
                f"MongoDB at {without_password(url)} cannot be used ({reason(error)}); start one with `make mongo`,"
                f" correct -m or {MONGO_URL}, or leave them out: files are recorded in any case"
            ) from None
        record: MongoRecord = cls.create_from(
            client[database].runs, gridfs.GridFS(client[database]), metrics_collection=client[database].metrics
        )
        record.address, record.failed, record.lock = without_password(url), False, Lock()
        return record

    def _unless_failed(self, event: str, *args: Any, **kwargs: Any) -> None:
        from pymongo.errors import PyMongoError

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


def mongo_from_environment() -> MongoRecord | None:
    """The record in the MongoDB that the environment names, if it names one."""
    url = os.environ.get(MONGO_URL)
    return MongoRecord.connect(url) if url else None
