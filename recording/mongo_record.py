"""Record runs in MongoDB by Sacred's observer, such that a failing server does not stop the run."""

import hashlib
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import gridfs
import pymongo
from bson.errors import BSONError
from pymongo.errors import DuplicateKeyError, PyMongoError
from sacred.observers import MongoObserver
from sacred.utils import ObserverError

from debiaslab.core.errors import UserError
from debiaslab.core.mongo import MONGO_TIMEOUT_MS, MONGO_URL, parse_address, reason, without_password

# errors while writing a document: of the server, or for a value that MongoDB has no type for
WRITE_ERRORS = (PyMongoError, BSONError, ObserverError, OverflowError)


class MongoRecord(MongoObserver):
    """The run in MongoDB. If the server fails during the run, recording there stops, and the user is told once.

    The `_id` of its document is a number, as in all databases of Sacred: Omniboard cannot open other runs. Our own id,
    which is the folder's name, is `run_id` there. pymongo is imported only when needed: it takes a fifth of a second.
    """

    database: Any
    address: str  # without a password
    run_id: str
    failed: bool
    lock: Lock

    @classmethod
    def connect(cls, url: str) -> "MongoRecord":
        """Connect to `url`. Raises `UserError`, without the password, if the server does not respond."""
        database = writable_database(url, ", or leave them out: files are recorded in any case")
        record: MongoRecord = cls.create_from(
            database.runs, gridfs.GridFS(database), metrics_collection=database.metrics
        )
        record.database, record.address = database, without_password(url)
        record.failed, record.lock = False, Lock()
        return record

    def save_sources(self, ex_info: Any) -> list[list[Any]]:
        """[name, GridFS id] of each source file. Each version of a file is stored once, for all runs."""
        base = Path(ex_info["base_dir"])
        return [[name, store_once(self.fs, base / name, (base / name).read_bytes())] for name, _ in ex_info["sources"]]

    def _unless_failed(self, event: str, *args: Any, **kwargs: Any) -> None:
        with self.lock:  # heartbeats come from another thread
            if self.failed:
                return
            try:
                getattr(super(), event)(*args, **kwargs)
            except WRITE_ERRORS as error:
                self.failed = True
                what = f"MongoDB at {self.address} failed ({reason(error)})"
                print(f"{what}: this run continues, recorded in files only", file=sys.stderr)

    def started_event(self, *args: Any, _id: str, **kwargs: Any) -> str:  # type: ignore[override]
        self.run_id = _id
        self._unless_failed("started_event", *args, **kwargs, _id=None)
        return _id

    def insert(self) -> None:
        assert self.run_entry is not None
        self.run_entry |= {"_id": document_id(self.database, self.run_id), "run_id": self.run_id}
        super().insert()

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
        """Unlike Sacred's, which falls back to a pickle in the temporary folder: here the files are the safe copy."""
        self.runs.update_one({"_id": self.run_entry["_id"]}, {"$set": self.run_entry}, upsert=True)


def writable_database(url: str, otherwise: str = "") -> Any:
    """Connect to the database at `url`. Raises `UserError`, without the password, if it is not writable; the message
    ends in `otherwise`, an alternative for the user."""
    address, name = parse_address(url)
    try:
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(
            address, serverSelectionTimeoutMS=MONGO_TIMEOUT_MS, connectTimeoutMS=MONGO_TIMEOUT_MS, tz_aware=False
        )
        probe = client[name].connection_probe  # a ping would not test write permission
        probe.delete_one({"_id": probe.insert_one({}).inserted_id})
    except PyMongoError as error:
        raise UserError(
            f"MongoDB at {without_password(url)} cannot be used ({reason(error)}); start one with `make mongo`,"
            f" correct -m or {MONGO_URL}{otherwise}"
        ) from None
    return client[name]


def document_id(database: Any, run_id: str) -> Any:
    """The `_id` of the document of the run `run_id`: the existing one, else the next number, which is reserved for it.

    Runs recorded by earlier versions have their `run_id` as `_id`. Reserved numbers are in a separate collection, as a
    copy of a record writes the run's document last.
    """
    found = database.runs.find_one({"$or": [{"run_id": run_id}, {"_id": run_id}]}, {"_id": 1})
    if found is not None:
        return found["_id"]
    numbers = database.run_numbers
    numbers.create_index("run_id", unique=True)
    while True:
        kept = numbers.find_one({"run_id": run_id})
        if kept is not None and database.runs.find_one({"_id": kept["_id"]}, {"_id": 1}) is None:
            return kept["_id"]
        if kept is not None:  # taken meanwhile by another program that records into this database
            numbers.delete_one({"_id": kept["_id"]})
        highest = [
            document["_id"]
            for collection in (database.runs, numbers)
            for document in collection.find({"_id": {"$type": "number"}}, {"_id": 1}).sort("_id", -1).limit(1)
        ]
        with suppress(DuplicateKeyError):  # another process was faster: try again
            numbers.insert_one({"_id": int(max(highest, default=0)) + 1, "run_id": run_id})


def store_once(files: gridfs.GridFS, path: Path, content: bytes) -> Any:
    """Store the source file `path` with this content unless it exists already, and return its GridFS id."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    found = files.find_one({"filename": str(path), "md5": digest})
    return files.put(content, filename=str(path), md5=digest) if found is None else found._id
