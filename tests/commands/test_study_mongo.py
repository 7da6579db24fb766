"""`main.py study ... mongo=True`: what other machines have recorded in MongoDB counts, whether done or going on."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest

from debiaslab.commands.studies import runner
from debiaslab.commands.studies.jobs import Job, jobs_of
from debiaslab.commands.studies.overview import Overview
from debiaslab.commands.studies.recorded import State, open_recorded
from debiaslab.commands.studies.words import read_study
from debiaslab.core.mongo import MONGO_URL
from debiaslab.recording.server import free_port
from tests.conftest import Command

pytestmark = pytest.mark.processes

SHORT = ("digits", "smoke", "method=erm")
HERE, THERE = "log_dir=runs/here", "log_dir=runs/there"

Study = Callable[..., Any]


@pytest.fixture
def database(port: int, request: pytest.FixtureRequest) -> Any:
    """An empty database."""
    return pymongo.MongoClient("localhost", port)[f"study_{abs(hash(request.node.name))}"]


@pytest.fixture
def address(database: Any) -> str:
    return f"localhost:{database.client.address[1]}:{database.name}"


@pytest.fixture
def study(command: Command, address: str) -> Study:
    return lambda *words: command("-m", address, "study", "with", *SHORT, "jobs=1", *words)


def test_a_run_of_another_machine_is_not_repeated(command: Command, study: Study, database: Any, address: str) -> None:
    assert study(THERE, "seed=1").code == 0
    (run_id,) = (run["run_id"] for run in database.runs.find())
    assert f"seed 1: {run_id}" not in study(HERE, "seed=1", "list=True").out
    listed = study(HERE, "seeds=1-2", "mongo=True", "list=True")
    assert "2 runs: 1 done, 1 to run" in listed.out
    assert f"{run_id} in MongoDB" in listed.out

    outcome = study(HERE, "seeds=1-2", "mongo=True", "format=csv")
    assert (outcome.code, outcome.err) == (0, "")
    assert database.runs.count_documents({}) == 2
    table = outcome.out[outcome.out.index("metric,rule") :]
    assert run_id in table  # its own record has no files here
    job = command("-m", address, "job", "with", *SHORT, HERE, "seed=1", "mongo=True")
    assert (job.code, job.out) == (0, f"done: {run_id} in MongoDB\n")
    assert "2 runs: 2 done" in study(HERE, "seeds=1-2", "mongo=True", "list=True").out


def test_code_that_differs_is_found_by_the_checksums_in_mongodb(study: Study, database: Any) -> None:
    study(THERE, "seed=1")
    database.fs.files.update_one({"filename": {"$regex": "training/loop.py$"}}, {"$set": {"md5": "0" * 32}})
    listed = study(HERE, "seed=1", "mongo=True", "list=True")
    assert "1 run: 1 done (by another version of the code)" in listed.out


def going_on(database: Any, ago: timedelta) -> None:
    """Make the only record that of a run that is going on, with its last heartbeat so long ago."""
    changes = {"status": "RUNNING", "heartbeat": datetime.now(UTC).replace(tzinfo=None) - ago, "stop_time": None}
    database.runs.update_one({}, {"$set": changes})


def job_of(study_words: tuple[str, ...]) -> Job:
    (job,) = jobs_of(read_study(study_words))
    return job


def test_a_job_that_another_machine_runs_is_waited_for(
    study: Study, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(THERE, "seed=1")
    going_on(database, timedelta(0))
    assert "2 runs: 1 running on another machine, 1 to run" in study(HERE, "seeds=1-2", "mongo=True", "list=True").out

    told: list[int] = []

    def completes(self: Overview, job: Job) -> None:
        told.append(job.seed)
        database.runs.update_one({"config.seed": job.seed}, {"$set": {"status": "COMPLETED"}})

    monkeypatch.setattr(Overview, "is_elsewhere", completes)
    monkeypatch.setattr(runner, "MONGO_SECONDS", 0.0)
    outcome = study(HERE, "seeds=1-2", "mongo=True")
    assert (outcome.code, told) == (0, [1])
    assert "done      erm seed 1: " in outcome.out
    assert "finished  erm seed 2: " in outcome.out
    assert database.runs.count_documents({}) == 2


def test_a_run_that_has_gone_silent_is_not_waited_for(
    study: Study, database: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(THERE, "seed=1")
    monkeypatch.setenv(MONGO_URL, address)
    job = job_of((*SHORT, HERE, "seed=1"))
    states = []
    for minutes in (1, 11):
        going_on(database, timedelta(minutes=minutes))
        states.append(open_recorded(job.log_dir, mongo=True).state(job))
    assert states == [State(elsewhere=True), State()]
    assert open_recorded(job.log_dir, mongo=False).state(job) == State()


def test_which_mongodb(command: Command) -> None:
    outcome = command("study", "with", *SHORT, "mongo=True")
    assert outcome.code == 2
    assert outcome.err == f"error: mongo=True: which MongoDB? name it by -m HOST:PORT:DATABASE or {MONGO_URL}\n"
    outcome = command("-m", f"localhost:{free_port()}:x", "study", "with", *SHORT, "mongo=True")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "cannot be" in outcome.err
