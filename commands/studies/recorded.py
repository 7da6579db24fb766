"""Find existing runs for the jobs of a study, here or in MongoDB, and lock jobs, so that two studies do not run one."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import Query
from debiaslab.analysis.records import Record, Store
from debiaslab.commands.studies.jobs import Job, key_of, settings_of
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.core.files import require_lock
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.sharing import share
from debiaslab.recording.observers import STATE
from debiaslab.recording.version import code_of_results, current_code
from debiaslab.settings.declared import earlier_values
from debiaslab.settings.run import AUTO
from debiaslab.training.checkpoint import read_facts, require_same_identity

LOCKS = ".locks"  # folder among the records, ignored by queries
MONGO_SECONDS = 10.0  # between two questions to MongoDB about a job that another machine runs
QUERIED = ("data.name", "method.name", "seed")


@dataclass(frozen=True)
class State:
    """The recorded state of a job: the completed run `done`, else `unfinished`, a run that can be resumed.

    `same_code`: `done` was made by the current code. `unfinished` has done `steps` optimiser steps. `elsewhere`:
    another machine is running the job.
    """

    done: str | None = None
    same_code: bool = False
    unfinished: str | None = None
    steps: int = 0
    elsewhere: bool = False

    def settles(self, again: bool) -> bool:
        """Whether the job needs no run; with `again`, only runs of the current code count."""
        return self.done is not None and (self.same_code or not again)


class Recorded:
    """The runs recorded in the folder `log_dir`, compared with jobs; `code` are the checksums of the current code.

    With `mongo`, runs that other machines have recorded there count too.
    """

    def __init__(self, log_dir: Path, code: Mapping[str, str], mongo: Store | None = None) -> None:
        self.log_dir, self.code, self.mongo = log_dir, code, mongo
        self.problems: Sequence[str] = ()  # a line for each damaged record in the last `states`

    def states(self, jobs: Sequence[Job]) -> dict[str, State]:
        """The state of each job, by key."""
        found: dict[str, list[Record]] = {job.key: [] for job in jobs}
        for record in self._records(jobs):
            if record.command == "train" and record.config.get("train") is not False:
                settings = settings_of(record.config)
                for left_open in {job.open_settings for job in jobs}:
                    found.get(key_of(settings | dict.fromkeys(left_open, AUTO)), []).append(record)
        return {job.key: self._state(job, found[job.key]) for job in jobs}

    def state(self, job: Job) -> State:
        return self.states([job])[job.key]

    def find(self, ids: Sequence[str]) -> list[Record]:
        """The runs with these ids."""
        return self._find(Query({}, ids=ids))

    def place(self, run_id: str) -> str:
        """Where a run is recorded."""
        folder = self.log_dir / run_id
        return str(folder) if self.mongo is None or folder.exists() else f"{run_id} in MongoDB"

    def _records(self, jobs: Sequence[Job]) -> list[Record]:
        """The records that may belong to the jobs, oldest first."""
        values = {name: {job.settings[name] for job in jobs} for name in QUERIED}
        return self._find(Query({name: min(found) for name, found in values.items() if len(found) == 1}))

    def _stores(self) -> Iterator[Store]:
        if self.log_dir.is_dir():
            yield FileStore(self.log_dir)
        if self.mongo is not None:
            yield self.mongo

    def _find(self, query: Query) -> list[Record]:
        """The runs that match `query`, oldest first; those in both places are read from the files."""
        found: dict[str, Record] = {}
        problems: list[str] = []
        for store in self._stores():
            for record in store.find(query):
                found.setdefault(record.id, record)
            problems += store.problems
        self.problems = problems
        return sorted(found.values(), key=lambda record: (str(record.start), record.id))

    def _state(self, job: Job, records: Sequence[Record]) -> State:
        complete = [record for record in records if record.result is not None and _same_data(job, record)]
        by_this_code = [record for record in complete if self._same_code(record)]
        if by_this_code:
            return State(by_this_code[-1].id, same_code=True)
        steps, unfinished = max(self._unfinished(job, records), default=(0, None))
        elsewhere = any(
            record.store is self.mongo and record.status == "RUNNING" and not record.is_silent for record in records
        )
        return State(complete[-1].id if complete else None, False, unfinished, steps, elsewhere)

    def _unfinished(self, job: Job, records: Sequence[Record]) -> Iterator[tuple[int, str | None]]:
        """(optimiser steps done, id) of each run that the current code can resume."""
        for record in records:
            path = self.log_dir / record.id / STATE
            if record.status == "COMPLETED" or not path.exists() or not self._same_code(record):
                continue
            try:
                facts = read_facts(path)
                if job.data is not None:
                    require_same_identity(path, earlier_values(job.setup.config) | facts["identity"], job.data.identity)
            except (UserError, KeyError):
                continue
            evaluations = facts["history"]["evaluations"]
            yield evaluations[-1]["step"] if evaluations else 0, record.id

    def _same_code(self, record: Record) -> bool:
        return code_of_results(record.store.checksums(record)) == self.code


def open_recorded(log_dir: Path, mongo: bool) -> Recorded:
    """The runs in `log_dir`, and, with `mongo`, in the MongoDB that -m or the environment names.

    Raises `UserError` if they name none.
    """
    if not mongo:
        return Recorded(log_dir, current_code(ex))
    url = os.environ.get(MONGO_URL)
    if not url:
        raise UserError(f"mongo=True: which MongoDB? name it by -m HOST:PORT:DATABASE or {MONGO_URL}")
    from debiaslab.analysis.mongo_store import MongoStore  # a slow import

    return Recorded(log_dir, current_code(ex), MongoStore(url))


def _same_data(job: Job, record: Record) -> bool:
    """Whether the run used the same data as the job; by the settings alone if those have not been loaded."""
    return job.data is None or record.info.get("data", {}).get("fingerprint") == job.data.fingerprint


def try_lock(folder: Path, key: str) -> BufferedWriter | None:
    """Lock the job `key`; returns the open file that holds the lock, or None if another process has it.

    The lock is released when all processes with the open file have closed it or died. Raises `UserError` if the file
    cannot be written or locked.
    """
    path = folder / LOCKS / key
    try:
        path.parent.mkdir(exist_ok=True)
        share(path.parent)
        file = path.open("ab")
        share(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder with log_dir=DIR") from None
    try:
        if require_lock(file.fileno(), path, wait=False):
            return file
    except UserError:
        file.close()
        raise
    file.close()
    return None


def note_run(lock: BufferedWriter, run_id: str) -> None:
    """Write into the locked file which run its holder has started, for `noted_run`."""
    lock.truncate(0)
    lock.write(run_id.encode())
    lock.flush()


def noted_run(folder: Path, key: str) -> str | None:
    """The last run of the job `key` that has been noted, if any."""
    try:
        return (folder / LOCKS / key).read_text(errors="replace") or None
    except OSError:
        return None


def is_locked(folder: Path, key: str) -> bool:
    """Whether a study is currently running the job `key`; has no side effects."""
    try:
        with (folder / LOCKS / key).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
