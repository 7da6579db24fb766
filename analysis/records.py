"""Recorded runs, independent of where they are stored: in a folder of records or in MongoDB."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Protocol

import msgspec

from debiaslab.analysis.query import Query
from debiaslab.analysis.schema import require_history
from debiaslab.core.errors import UserError
from debiaslab.evaluation.history import EVALUATIONS, Evaluation, History
from debiaslab.settings.declared import as_recorded_now

SILENT = timedelta(minutes=10)  # runs write a heartbeat every 10 seconds by default


class HasConfig(Protocol):
    """A run, recorded or not yet, and its nested configuration."""

    @property
    def id(self) -> str: ...

    @property
    def config(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Record:
    """One run: its id, nested configuration, Sacred's status, start and last sign of life (UTC), result, facts.

    `result` is rule -> name -> value as in `analysis.result.summary`, or None for a run without a result; `info` has
    facts about data, machine and code. `store` reads the run's files.
    """

    id: str
    command: str
    config: Mapping[str, Any]
    status: str
    start: datetime | None
    last_sign: datetime | None
    result: Mapping[str, Mapping[str, Any]] | None
    info: Mapping[str, Any]
    store: "Store" = field(repr=False, compare=False)

    @property
    def state(self) -> str:
        """The status in words. The record of a killed run still has the status RUNNING."""
        if self.is_silent:
            return f"no sign of life since {self.last_sign or self.start:%Y-%m-%d %H:%M} UTC"
        return self.status.lower()

    @property
    def is_silent(self) -> bool:
        """Whether the run should be running, but has written no heartbeat for some time: it was probably killed."""
        sign = self.last_sign or self.start
        return self.status == "RUNNING" and sign is not None and datetime.now(UTC).replace(tzinfo=None) - sign >= SILENT

    @property
    def has_ended_early(self) -> bool:
        """Whether the run has ended without completing."""
        return self.is_silent if self.status == "RUNNING" else self.status != "COMPLETED"

    @property
    def seconds(self) -> float | None:
        """The duration of the run, if known."""
        return (self.last_sign - self.start).total_seconds() if self.start and self.last_sign else None

    @property
    def trained(self) -> bool:
        """Whether the run trained its weights, rather than evaluating those of another run."""
        return self.command == "train" and self.config.get("train") is not False

    @property
    def is_trial(self) -> bool:
        """Whether the run is a trial of a search. Those with the best settings of one are not."""
        return self.config.get("trial") is not None

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of images and labels; None if it was not recorded."""
        return (self.info.get("data") or {}).get("fingerprint")

    @property
    def code(self) -> str:
        """The version of the code: the commit, with a + if files differed from it, or else the package's version."""
        code = self.info.get("code") or {}
        name = (code.get("commit") or "")[:7] or code.get("version") or "unknown"
        return f"{name}{'+' if code.get('changed') else ''}"

    def artifact(self, name: str) -> bytes:
        """Read one of the run's files. Raises `UserError` if it does not exist."""
        return self.store.artifact(self, name)

    def artifact_names(self) -> list[str]:
        return self.store.artifact_names(self)

    def history(self) -> History:
        """All evaluations. Raises `UserError` if they are missing or damaged."""
        return parse_history(self.artifact(EVALUATIONS), self.id)


def without_trials(records: Sequence[Record]) -> Sequence[Record]:
    """The runs that are no trials of searches, which tables of results leave out; all, if there are only trials."""
    return [record for record in records if not record.is_trial] or records


class Store(ABC):
    """A place where runs are stored."""

    @abstractmethod
    def find(self, query: Query) -> list[Record]:
        """The runs that match `query`, oldest first. Damaged ones are left out, and listed in `problems`."""

    @abstractmethod
    def artifact(self, record: Record, name: str) -> bytes: ...

    @abstractmethod
    def artifact_names(self, record: Record) -> list[str]: ...

    @abstractmethod
    def entry(self, record: Record) -> Mapping[str, Any]:
        """Everything that Sacred records about the run: host, package versions, command line. Raises `UserError`."""

    @abstractmethod
    def sources(self, record: Record) -> dict[str, bytes]:
        """The source code of the project at the time of the run, by path. Raises `UserError`."""

    @abstractmethod
    def checksums(self, record: Record) -> dict[str, str]:
        """The MD5 checksums of the same code, by path; empty if the record lacks them."""

    problems: Sequence[str] = ()  # a line for each damaged record in the last `find`


def record_of(entry: Mapping[str, Any], config: Any, info: Any, run_id: str, store: Store) -> Record:
    """Build a record from Sacred's entry; all arguments have passed `schema.require_run`."""
    return Record(
        id=run_id,
        command=entry["command"],
        config=as_recorded_now(config),
        status=entry["status"],
        start=_time(entry.get("start_time")),
        last_sign=_time(entry.get("stop_time") or entry.get("heartbeat")),
        result=entry.get("result") if entry["status"] == "COMPLETED" else None,
        info={name: info[name] for name in info if name != "metrics"},  # where Sacred keeps the scalars in MongoDB
        store=store,
    )


def _time(value: str | datetime | None) -> datetime | None:
    """Convert Sacred's times, which are UTC: ISO text in files, datetimes in MongoDB."""
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return None if time is None else time.replace(tzinfo=None)


class RecordedHistory(History):
    """A complete history: the metrics of each evaluation are computed once, for all rules."""

    @cached_property
    def _measured(self) -> dict[int, dict[str, dict[str, dict[str, float]]]]:
        return {}

    def metrics(self, evaluation: Evaluation) -> dict[str, dict[str, dict[str, float]]]:
        if id(evaluation) not in self._measured:
            self._measured[id(evaluation)] = super().metrics(evaluation)
        return self._measured[id(evaluation)]

    def prediction(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        return next(iter(self.metrics(evaluation)[split].values()))


@lru_cache(maxsize=1)  # for consecutive queries of one run
def parse_history(content: bytes, run_id: str) -> History:
    """Parse evaluations.jsonl; an incomplete last line is ignored. Raises `UserError` if it is damaged."""
    first, *lines = content.decode(errors="replace").splitlines() or [""]
    try:
        history = msgspec.convert({**json.loads(first), "evaluations": []}, RecordedHistory)
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
            except ValueError:
                if number < len(lines):
                    raise
            else:
                history.evaluations.append(msgspec.convert(values, Evaluation))
        require_history(history)
    except (msgspec.ValidationError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"the evaluations of the run {run_id} are damaged: {error}") from None
    return history
