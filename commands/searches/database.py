"""The database of a search: an SQLite file, a journal, or a server, shared by all of its workers."""

import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from debiaslab.commands.searches.plan import Plan, make_plan
from debiaslab.commands.searches.words import SearchWords
from debiaslab.core.errors import UserError
from debiaslab.core.files import require_lock
from debiaslab.core.mongo import without_password
from debiaslab.core.sharing import make_shared_folder, share

CREATION_RETRIES = 5  # two workers that create a database at the same time can disturb each other
JOURNALS = (".journal", ".log")
DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
POSTGRESQL = "postgresql"
FACTS = "facts"  # attribute of a study


def open_study(plan: Plan, create: bool) -> optuna.Study:
    """Raises as `Trials`."""
    try:
        study = _open_study(plan, create)
        found = study.user_attrs.get(FACTS, {})
        if not found and create:
            study.set_user_attr(FACTS, plan.facts)
    except (*DATABASE_ERRORS, ImportError, OSError, ValueError) as error:
        raise database_problem(plan.storage, error) from None
    except KeyError:
        raise UserError(
            f"no search {plan.name} in {hide_password(plan.storage)}; check its settings and storage"
        ) from None
    for name in found:
        if found[name] != plan.facts.get(name):
            raise UserError(
                f"the search {plan.name} was started with {name}={found[name]}, not {plan.facts.get(name)};"
                " give the same settings, or another name"
            )
    return study


def find_plan(words: SearchWords) -> tuple[Plan, bool]:
    """The plan of `words`, and whether its search is in the database. Raises `UserError` for any mistake."""
    plan = make_plan(words)
    name = find_existing(plan) if words.name is None else None
    return (plan, False) if name is None else (replace(plan, words=replace(words, name=name)), True)


def find_existing(plan: Plan) -> str | None:
    """The name of an existing search in the database with the same settings, from this or an older version.

    Older versions include the settings of other data sets, as None, which gives another default name.
    """
    if "://" not in plan.storage and not Path(plan.storage).exists():
        return None
    try:
        for study in optuna.get_all_study_summaries(open_storage(plan.storage)):
            facts = study.user_attrs.get(FACTS, {})
            same = {name: value for name, value in facts.items() if value is not None} == plan.facts
            if same and study.study_name.startswith(plan.name.rpartition("-")[0]):
                return study.study_name
    except (*DATABASE_ERRORS, ImportError, OSError, ValueError) as error:
        raise database_problem(plan.storage, error) from None
    return None


def _open_study(plan: Plan, create: bool) -> optuna.Study:
    if not create:
        if "://" not in plan.storage and not Path(plan.storage).exists():
            raise KeyError(plan.storage)
        return optuna.load_study(study_name=plan.name, storage=open_storage(plan.storage))
    for _ in range(CREATION_RETRIES):
        try:
            return _create_study(plan)
        except DATABASE_ERRORS:
            time.sleep(random.uniform(0.1, 0.5))
    return _create_study(plan)


def _create_study(plan: Plan) -> optuna.Study:
    storage = open_storage(plan.storage)
    return optuna.create_study(study_name=plan.name, storage=storage, direction="maximize", load_if_exists=True)


def open_storage(address: str) -> BaseStorage:
    """Open the database at `address`: an SQLAlchemy URL, a journal (.journal, .log), or an SQLite file."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if "://" in address:
        return RDBStorage(with_driver(address))
    path = Path(address).absolute()
    make_shared_folder(path.parent)
    if path.suffix in JOURNALS:
        return JournalStorage(JournalFileBackend(str(path)))
    url = URL.create("sqlite", database=str(path))  # escapes ?, # and % in the name
    storage = RDBStorage(url.render_as_string(), engine_kwargs={"connect_args": {"timeout": 60}})
    share(path)
    return storage


def with_driver(address: str) -> str:
    """`address` with psycopg as the driver of a PostgreSQL server, unless it names another."""
    kind, rest = address.split("://", 1)
    return f"{POSTGRESQL}+psycopg://{rest}" if kind in (POSTGRESQL, "postgres") else address


@contextmanager
def one_at_a_time(address: str) -> Iterator[None]:
    """Exclude other workers on this file within the block. Servers handle concurrency themselves.

    Raises `UserError` if it cannot be locked.
    """
    if "://" in address:
        yield
        return
    with Path(f"{address}.turn").open("a") as lock:  # a journal already uses .lock
        share(Path(lock.name))
        require_lock(lock.fileno(), Path(lock.name), wait=True)
        yield


def database_problem(address: str, error: Exception) -> UserError:
    """The error of a database, in one line and without its password."""
    if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
        return UserError("storage=postgresql://... needs the package psycopg: pip install 'psycopg[binary]'")
    cause = getattr(error, "orig", None) or error.__cause__ or error
    reason = str(getattr(cause, "orig", None) or cause).strip().split("\n")[0]
    shown = hide_password(address)
    return UserError(
        f"cannot use storage={shown}: {reason.replace(address, shown)}; name a file or the address of a database"
    )


@contextmanager
def naming_database(address: str) -> Iterator[None]:
    """Within the block, an error of the database at `address` is a `UserError` that names it."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise database_problem(address, error) from None


def hide_password(address: str) -> str:
    """`address` without a password."""
    return without_password(address) if "://" in address else address
