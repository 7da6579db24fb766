"""Runs in MongoDB as Omniboard and incense see them: by the number of the document, beside our own id.

The real Omniboard is started where `.omniboard/` holds it (`npm install --prefix .omniboard omniboard`, as `.ci/run`
does where npm is there); what it asks the database is asked in any case.
"""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest

from debiaslab.analysis.mongo_store import MongoStore
from debiaslab.analysis.query import EVERYTHING, Query
from debiaslab.recording.mongo_record import document_id
from debiaslab.recording.server import free_port
from tests.conftest import Command

OMNIBOARD = Path(__file__).parents[2] / ".omniboard" / "node_modules" / "omniboard" / "dist" / "start.js"


def database(port: int, name: str) -> Any:
    return pymongo.MongoClient("localhost", port)[name]


def old_record(port: int, name: str, run_id: str) -> None:
    """The document of a run as it was before documents had numbers: of a copy, renamed."""
    runs = database(port, name).runs
    run = runs.find_one({"run_id": {"$exists": True}})
    database(port, name).metrics.update_many({"run_id": run["_id"]}, {"$set": {"run_id": run_id}})
    runs.delete_one({"_id": run["_id"]})
    del run["run_id"]
    runs.insert_one(run | {"_id": run_id})


def test_both_ids_find_a_run(command: Command, port: int, tmp_path: Path) -> None:
    (folder,) = command("with", "smoke", "method=erm").runs
    ids = [folder.name, *(shutil.copytree(folder, folder.with_name(f"{folder.name}-{copy}")).name for copy in "ab")]
    address = f"localhost:{port}:ids"
    assert command("-m", address, "sync", data=False).code == 0
    assert [run["_id"] for run in database(port, "ids").runs.find().sort("run_id", 1)] == [1, 2, 3]
    store = MongoStore(address)
    assert [record.id for record in store.find(EVERYTHING)] == ids
    for number, run_id in enumerate(ids, 1):
        for name in (run_id, str(number)):
            assert [record.id for record in store.find(Query({}, ids=[name]))] == [run_id]
            shown = command("-m", address, "results", "with", "list=True", f"id={name}", data=False)
            assert (shown.code, shown.out.count(run_id)) == (0, 1)
    assert store.find(Query({}, ids=["4", "9" * 40])) == []


def test_records_of_earlier_versions(command: Command, port: int, tmp_path: Path) -> None:
    """They keep their text ids, are found by them, and are neither copied again nor in the way of numbers."""
    (folder,) = command("with", "smoke", "method=erm").runs
    address = f"localhost:{port}:earlier"
    assert "1 copied" in command("-m", address, "sync", data=False).out
    old_record(port, "earlier", folder.name)
    assert "0 copied" in command("-m", address, "sync", data=False).out
    (record,) = MongoStore(address).find(Query({}, ids=[folder.name]))
    assert record.history().evaluations
    shutil.copytree(folder, tmp_path / "runs" / "another")
    assert "1 copied" in command("-m", address, "sync", data=False).out
    assert sorted(map(str, database(port, "earlier").runs.distinct("_id"))) == ["2", folder.name]


def test_numbers_are_given_once(port: int) -> None:
    """A run keeps its number until its document is written; one that another program has taken is given up."""
    runs = database(port, "numbers")
    assert [document_id(runs, name) for name in ("a", "b", "a")] == [1, 2, 1]
    runs.runs.insert_one({"_id": 1})  # of another program
    assert [document_id(runs, name) for name in ("a", "b")] == [3, 2]
    runs.runs.insert_one({"_id": 2, "run_id": "b"})
    assert [document_id(runs, name) for name in ("a", "b", "c")] == [3, 2, 4]


def test_incense_finds_it_by_number(command: Command, port: int) -> None:
    from incense import ExperimentLoader

    command("-m", f"localhost:{port}:incense", "with", "smoke", "method=erm")
    loader = ExperimentLoader(mongo_uri=f"mongodb://localhost:{port}", db_name="incense", unpickle=False)
    assert loader.find_by_id(1).config.method.name == "erm"
    assert list(loader.find_by_id(1).metrics["test/unbiased"].index) == [20]


def test_the_queries_of_omniboard(command: Command, port: int) -> None:
    """Read off its server: runs by Number(id), metrics by the run's number, notes written with PUT."""
    command("-m", f"localhost:{port}:queries", "with", "smoke", "method=erm")
    tables = database(port, "queries")
    (run,) = tables.runs.aggregate([{"$match": {"_id": float("1")}}])
    metrics = {metric["name"]: metric for metric in tables.metrics.find({"run_id": 1})}
    assert set(metrics) == {link["name"] for link in run["info"]["metrics"]} != set()
    assert tables.runs.update_one({"_id": 1}, {"$set": {"omniboard": {"notes": "good"}}}).modified_count == 1
    assert len(MongoStore(f"localhost:{port}:queries").find(EVERYTHING)) == 1


@pytest.mark.processes
@pytest.mark.skipif(not OMNIBOARD.exists(), reason="Omniboard is not installed in .omniboard/")
def test_the_real_omniboard(command: Command, port: int) -> None:
    command("-m", f"localhost:{port}:board", "with", "smoke", "method=erm")
    with omniboard(f"localhost:{port}:board") as address:
        run = ask(f"{address}/Runs/1")
        assert (run["_id"], run["status"], run["config"]["method"]["name"]) == (1, "COMPLETED", "erm")
        metrics = ask(f'{address}/Metrics?query={{"run_id":"1"}}'.replace('"', "%22"))
        assert {metric["name"] for metric in metrics} >= {"test/unbiased"}
        assert ask(f"{address}/Runs/1", {"omniboard": {"notes": "good"}}, method="PUT")
        assert ask(f"{address}/Runs/1")["omniboard"]["notes"] == "good"


@contextmanager
def omniboard(database: str) -> Iterator[str]:
    """The address of the interface of an Omniboard on `database`."""
    port = free_port()
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PORT": str(port)}
    server = subprocess.Popen(
        ["node", str(OMNIBOARD), "-m", database], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}/sacred/api/v1"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                ask(f"{address}/Runs")
                break
            except OSError:
                assert server.poll() is None, "Omniboard has ended"
                assert time.monotonic() < end, "Omniboard does not answer"
                time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


def ask(address: str, content: Any = None, method: str = "GET") -> Any:
    """What an HTTP request is answered."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "{}")
