"""Observers that record runs: in a folder each, with atomic writes and unique ids, and optionally in MongoDB."""

import json
import os
import secrets
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred.dependencies import get_digest
from sacred.observers import FileStorageObserver
from sacred.serializer import flatten

from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.sharing import make_shared_folder

if TYPE_CHECKING:
    from debiaslab.recording.mongo_record import MongoRecord

STATE = "resume.safetensors"  # in a run's folder until the run is complete
MAX_ID_BYTES = 200  # less than the 255 of file names, as other names are derived from the id


def new_run_id() -> str:
    """A unique id on any machine: start time and four random hex digits."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class FileRecord(FileStorageObserver):
    """A folder per run under `basedir`; every file is replaced as a whole, so a kill leaves the last complete one."""

    def __init__(self, basedir: str) -> None:
        super().__init__(basedir, priority=40)  # before MongoDB's 30: the folder determines the run id
        self.failures: dict[str, UserError] = {}  # file -> why its last version could not be written

    def started_event(self, ex_info, command, host_info, start_time, config, meta_info, _id):  # type: ignore[no-untyped-def]
        event = (ex_info, command, host_info, start_time, config, meta_info)
        if _id is not None and Path(self.basedir, str(_id)).exists():
            raise UserError(f"--id={_id}: the run {Path(self.basedir, str(_id))} already exists; choose another id")
        while _id is None or Path(self.basedir, str(_id)).exists():
            _id = new_run_id()
        try:
            super().started_event(*event, _id=_id)
        except OSError as error:
            if self.dir is not None:
                os.rmdir(self.dir)
            where = error.filename or self.basedir
            raise UserError(f"cannot write {where}: {error.strerror}; choose another folder with log_dir=DIR") from None
        return _id

    def find_or_save(self, filename: str, store_dir: Path) -> Path:
        """Like Sacred's, but files appear atomically, and the folder can be shared by several users."""
        source = Path(filename)
        copy = Path(store_dir) / f"{source.stem}_{get_digest(source)}{source.suffix}"
        if not copy.exists():
            make_shared_folder(copy.parent)
            temporary = copy.with_name(f".{copy.name}.{os.getpid()}")
            shutil.copyfile(source, temporary)
            os.replace(temporary, copy)
        return copy

    def save_json(self, obj: Any, filename: str) -> None:
        try:
            with atomic_write(Path(self.dir) / filename) as temporary:
                temporary.write_text(json.dumps(flatten(obj), sort_keys=True, indent=2))
            self.failures.pop(filename, None)
        except UserError as error:
            self.failures[filename] = error
            if filename == "run.json" and obj["status"] != "RUNNING":
                mark_failed(Path(self.dir) / filename)
            raise

    def completed_event(self, stop_time: Any, result: Any) -> None:
        super().completed_event(stop_time, result)
        (Path(self.dir) / STATE).unlink(missing_ok=True)  # the record is complete: nothing to resume

    def require_complete(self) -> None:
        """Raise the `UserError` of a file that could not be written: Sacred lets a run continue without its record."""
        for error in self.failures.values():
            raise error


def mark_failed(path: Path) -> None:
    """Set the status in a run.json to FAILED in place, for a full disk on which the file cannot be replaced."""
    running, failed = b'"status": "RUNNING"', b'"status": "FAILED" '
    with suppress(OSError), path.open("r+b") as file:
        content = file.read()
        if content.count(running) == 1:
            file.seek(content.index(running))
            file.write(failed)


def content_type(name: str) -> str:
    """The MIME type of a run's file, for viewers."""
    return "image/png" if name.endswith(".png") else "application/octet-stream"


def mongo_from_environment() -> "MongoRecord | None":
    """The record in the MongoDB given by the environment, if any. Raises `UserError` if it cannot be used."""
    url = os.environ.get(MONGO_URL)
    if not url:
        return None
    from debiaslab.recording.mongo_record import MongoRecord  # importing pymongo takes a third of a second

    return MongoRecord.connect(url)
