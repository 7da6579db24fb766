"""Runs in MongoDB, read through incense."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gridfs
from pymongo.errors import PyMongoError

from debiaslab.analysis.query import MISSING, Query, require_known_settings, same
from debiaslab.analysis.records import Record, Store, record_of
from debiaslab.core.errors import UserError
from debiaslab.core.mongo import MONGO_TIMEOUT_MS, parse_address, reason, without_password
from debiaslab.settings.declared import earlier_values


class MongoStore(Store):
    """The runs in the database at `url`, written as for `main.py -m`."""

    def __init__(self, url: str) -> None:
        from incense import ExperimentLoader  # imported here: it takes a second, and files do without

        address, database = parse_address(url)
        self.address = without_password(url)
        # what jsonpickle might have put into a record is not brought to life: a record is data, never code
        self.loader = ExperimentLoader(address, database, unpickle=False, serverSelectionTimeoutMS=MONGO_TIMEOUT_MS)
        self.problems: list[str] = []
        self.document_ids: dict[str, Any] = {}  # id of a run that was found -> `_id` of its document

    def experiments(self, query: Query) -> Any:
        """incense's experiments for `query`. Raises `UserError` if the server does not answer."""
        conditions = {f"config.{name}": condition(name, value) for name, value in query.settings.items()}
        if query.status is not None:
            conditions["status"] = query.status
        if query.ids is not None:
            conditions |= condition_of_ids(query.ids)
        return self._ask(lambda: self.loader.find(conditions))

    def find(self, query: Query) -> list[Record]:
        found, self.problems = [], []
        self.loader.cache_clear()  # incense keeps what it has read, and runs go on
        experiments = self.experiments(query)
        for experiment in experiments:
            run = experiment.to_dict()
            try:
                record = record_of(run, run.get("config"), run.get("info"), id_of(run), self)
            except UserError as error:
                self.problems.append(str(error))
                continue
            self.document_ids[record.id] = run["_id"]
            if replace(query, ids=None).matches(record.id, record.config, record.status, record.start):
                found.append(record)
        if not found and query.settings:
            configs = self._ask(lambda: [run.get("config", {}) for run in self.loader._runs.find({}, {"config": 1})])
            require_known_settings(query, configs)
        return sorted(found, key=lambda record: (str(record.start), record.id))

    def experiment(self, record: Record) -> Any:
        """incense's object for one run: `.config`, `.metrics["test/unbiased"]`, `.artifacts["curves.png"]`, ..."""
        return self._ask(lambda: self.loader.find_by_id(self.document_ids[record.id]))

    def artifact(self, record: Record, name: str) -> bytes:
        artifacts = self._ask(lambda: self.experiment(record).artifacts)
        if name not in artifacts:
            raise UserError(f"the run {record.id} in MongoDB {self.address} has no file {name}")
        file = artifacts[name].file
        file.seek(0)  # incense hands out the same file to all who ask
        content: bytes = self._ask(file.read)
        file.seek(0)
        return content

    def artifact_names(self, record: Record) -> list[str]:
        return list(self._ask(lambda: self.experiment(record).artifacts))

    def entry(self, record: Record) -> dict[str, Any]:
        found: dict[str, Any] = self.experiment(record).to_dict()
        return found

    def sources(self, record: Record) -> dict[str, bytes]:
        links, files = self.entry(record).get("experiment", {}).get("sources", []), self.loader._grid_filesystem
        return self._ask(lambda: {name: files.get(file_id).read() for name, file_id in links})  # type: ignore[no-any-return]

    def _ask(self, question: Any) -> Any:
        try:
            return question()
        except (PyMongoError, gridfs.errors.GridFSError) as error:
            raise UserError(f"MongoDB at {self.address} cannot be asked ({reason(error)})") from None


def id_of(run: Mapping[str, Any]) -> str:
    """The id of a run by its document, which earlier versions had as `_id`, as those of other programs have."""
    return str(run.get("run_id", run["_id"]))


def condition_of_ids(ids: Sequence[str]) -> dict[str, Any]:
    """MongoDB's condition for runs of these ids: ours, or the numbers that Omniboard shows."""
    numbers = [int(text) for text in ids if text.isdecimal() and int(text) < 2**63]
    return {"$or": [{"run_id": {"$in": list(ids)}}, {"_id": {"$in": [*ids, *numbers]}}]}


def condition(name: str, value: Any) -> Any:
    """MongoDB's condition for a setting: runs whose records lack it are among those of the value that it had then."""
    return {"$in": [value, None]} if same(earlier_values().get(name, MISSING), value) else value
