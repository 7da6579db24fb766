"""Runs in MongoDB, also as incense's objects, for notebooks."""

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

# documents with invalid text or dates are decoded, so that they can be rejected individually
TOLERANT: CodecOptions[dict[str, Any]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

Answer = TypeVar("Answer")


class MongoStore(Store):
    """The runs in the database at `url`, in the syntax of `main.py -m`."""

    def __init__(self, url: str) -> None:
        from incense import ExperimentLoader  # a slow import that files do not need

        address, database = parse_address(url)
        self.address = without_password(url)
        # no unpickling: a record is data, never code
        self.loader = ExperimentLoader(address, database, unpickle=False, serverSelectionTimeoutMS=MONGO_TIMEOUT_MS)
        self.runs = self.loader._runs.with_options(codec_options=TOLERANT)
        self.files: gridfs.GridFS = self.loader._grid_filesystem
        self.problems: list[str] = []
        self.known_checksums: dict[Any, str] = {}  # GridFS id -> MD5 checksum, of source files
        self.document_ids: dict[str, Any] = {}  # run id -> `_id` of its document, for runs found so far

    def experiments(self, query: Query) -> Any:
        """incense's experiments for `query`. Raises `UserError` if the server does not respond."""
        self.loader.cache_clear()  # incense caches documents, but runs continue
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

    def checksums(self, record: Record) -> dict[str, str]:
        links = self.entry(record).get("experiment", {}).get("sources", [])
        unknown = [file_id for _, file_id in links if file_id not in self.known_checksums]
        if unknown:
            files = self.runs.database.fs.files
            found = self._ask(lambda: list(files.find({"_id": {"$in": unknown}}, {"md5": 1})))
            self.known_checksums |= {file["_id"]: str(file.get("md5")) for file in found}
        return {name: self.known_checksums[file_id] for name, file_id in links if file_id in self.known_checksums}

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
            raise UserError(f"MongoDB at {self.address} cannot be queried ({reason(error)})") from None


def id_of(run: Mapping[str, Any]) -> str:
    """The id of a run from its document; earlier versions and other programs use `_id`."""
    return str(run.get("run_id", run["_id"]))


def condition_of_ids(ids: Sequence[str]) -> dict[str, Any]:
    """MongoDB's condition for runs with these ids, which may also be the numbers shown by Omniboard."""
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
    """MongoDB's condition for a setting: runs recorded before it existed match the value that it had then."""
    return {"$in": [value, None]} if same(earlier_values().get(name, MISSING), value) else value
