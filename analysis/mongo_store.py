"""Runs in MongoDB. Those who want incense's own objects, as in a notebook, get them here, too."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import gridfs
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from debiaslab.analysis.query import MISSING, Bound, OneOf, Query, require_known_settings, same
from debiaslab.analysis.records import Record, Store, record_of
from debiaslab.analysis.schema import BAD_ID, damaged, is_run_id, require_entry, require_run
from debiaslab.core.errors import UserError
from debiaslab.core.mongo import MONGO_TIMEOUT_MS, parse_address, reason, without_password
from debiaslab.settings.declared import earlier_values

# a document with text or a date that Python does not have is read, and refused alone
TOLERANT: CodecOptions[dict[str, Any]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

Answer = TypeVar("Answer")


class MongoStore(Store):
    """The runs in the database at `url`, written as for `main.py -m`."""

    def __init__(self, url: str) -> None:
        from incense import ExperimentLoader  # imported here: it takes a second, and files do without

        address, database = parse_address(url)
        self.address = without_password(url)
        # what jsonpickle might have put into a record is not brought to life: a record is data, never code
        self.loader = ExperimentLoader(address, database, unpickle=False, serverSelectionTimeoutMS=MONGO_TIMEOUT_MS)
        self.runs = self.loader._runs.with_options(codec_options=TOLERANT)
        self.files: gridfs.GridFS = self.loader._grid_filesystem
        self.problems: list[str] = []
        self.document_ids: dict[str, Any] = {}  # id of a run that was found -> `_id` of its document

    def experiments(self, query: Query) -> Any:
        """incense's experiments for `query`. Raises `UserError` if the server does not answer."""
        self.loader.cache_clear()  # incense keeps what it has read, and runs go on
        return self._ask(lambda: self.loader.find(conditions(query)))

    def find(self, query: Query) -> list[Record]:
        found, self.problems = [], []
        self.loader.cache_clear()
        for document in self._ask(lambda: list(self.runs.find(conditions(query)))):
            run_id = id_of(document)
            config, info = document.get("config"), document.get("info", {})
            try:
                if not is_run_id(run_id):
                    raise damaged(run_id, BAD_ID)
                require_run(document, config, info, run_id)
            except UserError as error:
                self.problems.append(str(error))
                continue
            self.document_ids[run_id] = document["_id"]
            record = record_of(document, config, info, run_id, self)
            if replace(query, ids=None).matches(record.id, record.config, record.status, record.start):
                found.append(record)
        if not found and query.settings:
            documents = self._ask(lambda: list(self.runs.find({}, {"config": 1})))
            require_known_settings(query, (run["config"] for run in documents if isinstance(run.get("config"), dict)))
        return sorted(found, key=lambda record: (str(record.start), record.id))

    def experiment(self, record: Record) -> Any:
        """incense's object for one run: `.config`, `.metrics["test/unbiased"]`, `.artifacts["curves.png"]`, ..."""
        return self._ask(lambda: self.loader.find_by_id(self.document_ids[record.id]))

    def artifact(self, record: Record, name: str) -> bytes:
        links = self._artifacts(record)
        if name not in links:
            raise UserError(f"the run {record.id} in MongoDB {self.address} has no file {name}")
        return self._content(links[name])

    def artifact_names(self, record: Record) -> list[str]:
        return list(self._artifacts(record))

    def entry(self, record: Record) -> dict[str, Any]:
        found: dict[str, Any] | None = self._ask(lambda: self.runs.find_one({"_id": self.document_ids[record.id]}))
        if found is None:
            raise UserError(f"the run {record.id} is no longer in MongoDB {self.address}")
        require_entry(found, record.id)
        return found

    def sources(self, record: Record) -> dict[str, bytes]:
        links = self.entry(record).get("experiment", {}).get("sources", [])
        return {name: self._content(file_id) for name, file_id in links}

    def _artifacts(self, record: Record) -> dict[str, Any]:
        """Name -> GridFS id."""
        return {
            link["name"]: link["file_id"]
            for link in self.entry(record).get("artifacts", [])
            if not isinstance(link, str)
        }

    def _content(self, file_id: Any) -> bytes:
        content: bytes = self._ask(lambda: self.files.get(file_id).read())
        return content

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except (PyMongoError, gridfs.errors.GridFSError, BSONError, OverflowError, UnicodeError) as error:
            raise UserError(f"MongoDB at {self.address} cannot be asked ({reason(error)})") from None


def id_of(run: Mapping[str, Any]) -> str:
    """The id of a run by its document, which earlier versions had as `_id`, as those of other programs have."""
    return str(run.get("run_id", run["_id"]))


def condition_of_ids(ids: Sequence[str]) -> dict[str, Any]:
    """MongoDB's condition for runs of these ids: ours, or the numbers that Omniboard shows."""
    numbers = [int(text) for text in ids if text.isdecimal() and int(text) < 2**63]
    return {"$or": [{"run_id": {"$in": list(ids)}}, {"_id": {"$in": [*ids, *numbers]}}]}


def conditions(query: Query) -> dict[str, Any]:
    """MongoDB's conditions for `query`, but for dates, lists and bounds, which `Query.matches` looks at."""
    found = {
        f"config.{name}": condition(name, value)
        for name, value in query.settings.items()
        if not isinstance(value, (OneOf, Bound))
    }
    if query.status is not None:
        found["status"] = query.status
    if query.ids is not None:
        found |= condition_of_ids(query.ids)
    return found


def condition(name: str, value: Any) -> Any:
    """MongoDB's condition for a setting: runs whose records lack it are among those of the value that it had then."""
    return {"$in": [value, None]} if same(earlier_values().get(name, MISSING), value) else value
