"""An index of a folder's records in SQLite, so that thousands of records can be searched without reading them."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from debiaslab.analysis.query import Query
from debiaslab.core.sharing import share
from debiaslab.settings.declared import earlier_values

VERSION = 4  # increment it whenever the content of the index changes
COLUMNS = "id, stamp, config, entry, problem"
TABLE = (
    "CREATE TABLE runs (id TEXT PRIMARY KEY, stamp TEXT, config TEXT, entry TEXT, problem TEXT, checksum INTEGER)"
    " WITHOUT ROWID"
)
LOCK_SECONDS = 5.0
# SQLite's errors that do not mean that the file is damaged
NOT_DAMAGED = {f"SQLITE_{name}" for name in ("BUSY", "LOCKED", "READONLY", "CANTOPEN", "FULL", "PERM", "IOERR")}
INTEGERS = range(-(2**63), 2**63)  # SQLite's range

Row = tuple[str, str, str | None, str | None, str | None]  # as in COLUMNS


def open_index(path: Path) -> sqlite3.Connection:
    """Open the index in `path`, rebuilding a damaged one; in memory if the file cannot be used."""
    for _ in range(2):
        try:
            return _checked(path)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", None) in NOT_DAMAGED:
                break
        with suppress(OSError):
            path.unlink()
    return index_in_memory()


def index_in_memory() -> sqlite3.Connection:
    return _prepared(sqlite3.connect(":memory:"))


def _checked(path: Path) -> sqlite3.Connection:
    """Raises `sqlite3.Error` for a file that cannot be used, or whose rows have wrong checksums."""
    if path.is_symlink():  # not ours: do not change what it points to
        return index_in_memory()
    index = sqlite3.connect(path, timeout=LOCK_SECONDS)
    try:
        _prepared(index)
        if index.execute(f"SELECT 1 FROM runs WHERE checksum IS NOT checksum({COLUMNS}) LIMIT 1").fetchone():
            raise sqlite3.DatabaseError("the checksum of a row does not match")
        share(path)
    except BaseException:
        index.close()
        raise
    return index


def _prepared(index: sqlite3.Connection) -> sqlite3.Connection:
    index.create_function("checksum", -1, _checksum, deterministic=True)
    index.execute("PRAGMA trusted_schema = OFF")
    if index.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        index.execute("DROP TABLE IF EXISTS runs")
        index.execute(TABLE)
        index.execute(f"PRAGMA user_version = {VERSION}")
    return index


def _checksum(*values: str | None) -> int:
    return crc32(json.dumps(values).encode())


def stamps(index: sqlite3.Connection) -> dict[str, str]:
    """Run id -> stamp of each record in the index."""
    return dict(index.execute("SELECT id, stamp FROM runs").fetchall())


def change(index: sqlite3.Connection, gone: Sequence[str], rows: Sequence[Row]) -> None:
    """Remove the records `gone` from the index, and add or replace `rows`."""
    with index:
        index.executemany("DELETE FROM runs WHERE id = ?", [(run_id,) for run_id in gone])
        index.executemany("REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", [(*row, _checksum(*row)) for row in rows])


def search(index: sqlite3.Connection, query: Query) -> list[tuple[str, str, str]]:
    """Prefilter: (id, config, entry) of a superset of the runs for `query`; `Query.matches` decides."""
    terms, values = ["problem IS NULL"], []
    earlier = earlier_values()
    for name, value in query.settings.items():
        if _can_be_bound(name) and _can_be_bound(value):
            path = "$." + ".".join(f'"{part}"' for part in name.split("."))
            terms.append("coalesce(json_extract(config, ?), ?) = ?")
            values += [path, earlier.get(name), value]
    if query.status is not None:
        terms.append("json_extract(entry, '$.status') = ?")
        values.append(query.status)
    if query.ids is not None:
        terms.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(query.ids)))
    rows: list[Any] = index.execute(
        f"SELECT id, config, entry FROM runs WHERE {' AND '.join(terms)}", values
    ).fetchall()
    return rows


def _can_be_bound(value: Any) -> bool:
    """Whether SQLite can compare with `value`, and use it in a JSON path."""
    if isinstance(value, str):
        return value.isprintable() and '"' not in value
    return isinstance(value, float) or (type(value) is int and value in INTEGERS)


def configs(index: sqlite3.Connection) -> list[str]:
    return [config for (config,) in index.execute("SELECT config FROM runs WHERE problem IS NULL")]


def problems(index: sqlite3.Connection) -> list[str]:
    """A line for each damaged record."""
    return [problem for (problem,) in index.execute("SELECT problem FROM runs WHERE problem NOT NULL")]
