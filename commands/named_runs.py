"""Find runs by id or folder."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING, Query
from debiaslab.analysis.records import Record, Store
from debiaslab.commands.run_query import open_store
from debiaslab.core.console import left_out
from debiaslab.core.errors import UserError
from debiaslab.core.program import program_name

SHOWN = 3  # maximum number of runs in an error


def find_named_runs(names: Sequence[str], log_dir: str) -> list[Record]:
    """Find the runs with these names, in order: ids of runs in MongoDB or `log_dir`, folders of runs, or folders that
    contain several. Raises `UserError` for missing or damaged runs."""
    return [record for name in names for record in _named(name, log_dir, exact=True)]


def _named(name: str, log_dir: str, exact: bool) -> list[Record]:
    path = Path(os.path.realpath(name))
    if (path / "run.json").exists():
        return [find_run(FileStore(path.parent), path.name)]
    if path.is_dir():
        return _all_in(name)
    return [find_run(open_store(log_dir), name, exact)]


def find_one_run(name: str, log_dir: str, exact: bool = False) -> Record:
    """Find the run with this name, which may be the beginning of its id unless `exact`.

    Raises `UserError` if it is missing or damaged, or names several.
    """
    found = _named(name, log_dir, exact)
    if len(found) != 1:
        raise UserError(f"{name} contains {len(found)} runs; name one of them")
    return found[0]


def only_name(names: Sequence[str], usage: str) -> str:
    """The only one of the `names` of runs. Raises `UserError` with the command line `usage` for none or several."""
    if len(names) != 1:
        raise UserError(f"which run? Write `{program_name()} {usage}`, with the id or the folder of one run")
    return names[0]


def find_run(store: Store, run_id: str, exact: bool = True) -> Record:
    """Find the run with this id or, unless `exact`, the only one whose id starts with it.

    Raises `UserError` if it is missing, suggesting the closest ids, if it is damaged, or if several ids match.
    """
    found = store.find(Query({}, ids=[run_id]))
    if found:
        return found[0]
    for problem in store.problems:
        if run_id in problem:
            raise UserError(problem)
    every = store.find(EVERYTHING)
    found = [] if exact else [record for record in every if record.id.startswith(run_id)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = f"{', '.join(record.id for record in found[:SHOWN])}{', ...' if len(found) > SHOWN else ''}"
        raise UserError(f"{run_id!r} begins the ids of {len(found)} recorded runs, {ids}; give more of one")
    near = get_close_matches(run_id, [record.id for record in every], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    raise UserError(f"no recorded run {run_id!r}{hint} `{program_name()} results with list=True` shows all")


def _all_in(folder: str) -> list[Record]:
    store = FileStore(Path(folder))
    records = store.find(EVERYTHING)
    for problem in store.problems:
        left_out(problem)
    if not records:
        raise UserError(f"no recorded run in {folder}")
    return records
