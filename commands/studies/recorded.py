"""What is recorded of the runs of a study, and the locks that keep two studies from running the same one."""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import Query
from debiaslab.analysis.records import Record
from debiaslab.commands.studies.jobs import Job, key_of, settings_of
from debiaslab.core.errors import UserError
from debiaslab.core.sharing import share
from debiaslab.recording.observers import STATE
from debiaslab.recording.version import recorded_code
from debiaslab.settings.declared import earlier_values
from debiaslab.settings.run import AUTO
from debiaslab.training.checkpoint import read_facts, require_same_identity

LOCKS = ".locks"  # folder among the records, which never takes part in a query
QUERIED = ("data.name", "method.name", "seed")


@dataclass(frozen=True)
class State:
    """What is recorded of a job: the complete run `done`; else `unfinished`, a run that can be resumed.

    `same_code`: `done` was made by the code as it is now. `steps` optimiser steps are done in `unfinished`.
    """

    done: str | None = None
    same_code: bool = False
    unfinished: str | None = None
    steps: int = 0

    def settles(self, again: bool) -> bool:
        """Whether the job needs no run; `again`: unless it is by the code as it is now."""
        return self.done is not None and (self.same_code or not again)


class Recorded:
    """The runs recorded in the folder `log_dir`, compared with jobs; `code` are the checksums of the present code."""

    def __init__(self, log_dir: Path, code: Mapping[str, str]) -> None:
        self.log_dir, self.code = log_dir, code
        self.problems: Sequence[str] = ()  # a line for each damaged record that the last `states` met

    def states(self, jobs: Sequence[Job]) -> dict[str, State]:
        """What is recorded of each job, by its key."""
        found: dict[str, list[Record]] = {job.key: [] for job in jobs}
        for record in self._records(jobs):
            if record.command == "train" and record.config.get("train") is not False:
                settings = settings_of(record.config)
                for left_open in {job.open_settings for job in jobs}:
                    found.get(key_of(settings | dict.fromkeys(left_open, AUTO)), []).append(record)
        return {job.key: self._state(job, found[job.key]) for job in jobs}

    def state(self, job: Job) -> State:
        return self.states([job])[job.key]

    def _records(self, jobs: Sequence[Job]) -> list[Record]:
        """The records that may be of the jobs, oldest first."""
        if not self.log_dir.is_dir():
            return []
        values = {name: {job.settings[name] for job in jobs} for name in QUERIED}
        store = FileStore(self.log_dir)
        records = store.find(Query({name: min(found) for name, found in values.items() if len(found) == 1}))
        self.problems = store.problems
        return records

    def _state(self, job: Job, records: Sequence[Record]) -> State:
        complete = [record for record in records if record.result is not None and _same_data(job, record)]
        by_this_code = [record for record in complete if self._same_code(record)]
        if by_this_code:
            return State(by_this_code[-1].id, same_code=True)
        steps, unfinished = max(self._unfinished(job, records), default=(0, None))
        return State(complete[-1].id if complete else None, False, unfinished, steps)

    def _unfinished(self, job: Job, records: Sequence[Record]) -> Iterator[tuple[int, str | None]]:
        """(optimiser steps done, id) of each run that this code can resume."""
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
        return recorded_code(self.log_dir / record.id / "run.json") == self.code


def _same_data(job: Job, record: Record) -> bool:
    """Whether the record's run saw the data of the job; told by the settings alone where those have not been read."""
    return job.data is None or record.info.get("data", {}).get("fingerprint") == job.data.fingerprint


def try_lock(folder: Path, key: str) -> BufferedWriter | None:
    """The lock of the job `key`, as the open file that holds it; None if another process has it.

    It ends when every process that has the open file has closed it or died, however it died.
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
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_locked(folder: Path, key: str) -> bool:
    """Whether a study is running the job `key` now; leaves nothing behind."""
    try:
        with (folder / LOCKS / key).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
