"""Copies of file records in a real MongoDB server."""

import json
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gridfs
import pandas
import pymongo
import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.frames import curves_frame, groups_frame, results_frame
from debiaslab.analysis.mongo_store import MongoStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.commands import sync as sync_command
from debiaslab.recording import mongo_record
from debiaslab.recording.recorder import RunRecorder
from debiaslab.recording.server import free_port, running_server
from debiaslab.recording.sync import MongoCopy
from tests.analysis.recorded import write_record
from tests.conftest import Command

SMOKE = ("with", "smoke", "method=erm")


def content_of(port: int, name: str) -> dict[str, Any]:
    """All that a database holds of its runs, with the files themselves in place of their ids."""
    database = pymongo.MongoClient[Any]("localhost", port)[name]
    files = gridfs.GridFS(database)
    runs = {}
    for run in database.runs.find():
        stored = {artifact["name"]: files.get(artifact["file_id"]) for artifact in run["artifacts"]}
        run["artifacts"] = [
            (name, file.filename, file.content_type, file.metadata, file.read()) for name, file in stored.items()
        ]
        sources = run["experiment"]["sources"]
        run["experiment"]["sources"] = [(name, files.get(file_id).filename) for name, file_id in sources]
        run["source texts"] = [files.get(file_id).read() for _, file_id in sources]
        metrics = {str(metric.pop("_id")): metric for metric in database.metrics.find({"run_id": run["_id"]})}
        linked = run["info"].pop("metrics", [])
        assert {link["id"] for link in linked} == set(metrics)
        run["metrics"] = [(link["name"], metrics[link["id"]]) for link in linked]
        runs[run["run_id"]] = run
    # no file that no run has, none twice
    linked_files = sum(len(run["artifacts"]) for run in runs.values())
    assert database.fs.files.count_documents({"filename": {"$regex": "^artifact://"}}) == linked_files
    return runs


def equal_answers(folder: Path, port: int, name: str) -> None:
    files, mongo = FileStore(folder).find(EVERYTHING), MongoStore(f"localhost:{port}:{name}").find(EVERYTHING)
    for frame in (results_frame, groups_frame, curves_frame):
        expected, found = (frame(records).drop(columns=["start", "seconds"]) for records in (files, mongo))
        assert not found.empty
        pandas.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.long
def test_a_copy_equals_what_the_run_itself_records(command: Command, port: int, tmp_path: Path) -> None:
    command("-m", f"localhost:{port}:live", *SMOKE, "seed=2")
    live = content_of(port, "live")
    outcome = command("-m", f"localhost:{port}:copy", "sync", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"MongoDB localhost:{port}:copy: 1 copied, 0 completed, 0 already there\n" in outcome.out
    copied = content_of(port, "copy")
    (expected,), (found,) = live.values(), copied.values()
    assert list(found["metrics"]) == list(expected["metrics"])
    for name in {*expected, *found}:
        assert found[name] == expected[name], name
    equal_answers(tmp_path / "runs", port, "copy")
    tables = [command(*where, "results", data=False).out for where in ((), ("-m", f"localhost:{port}:copy"))]
    assert tables[0] == tables[1] != ""
    # where the run has recorded itself, nothing is left to do; nor after a copy
    for name in ("live", "copy"):
        again = command("-m", f"localhost:{port}:{name}", "sync", data=False)
        assert "0 copied, 0 completed, 1 already there" in again.out
    assert content_of(port, "live") == live
    assert content_of(port, "copy") == copied


def wait_for_steps(port: int, steps: int) -> None:
    """Until a heartbeat has brought so many values of a metric into the database "x"."""
    metrics, end = pymongo.MongoClient[Any]("localhost", port)["x"].metrics, time.monotonic() + 30
    while time.monotonic() < end:
        if any(len(metric["steps"]) == steps for metric in metrics.find({"name": "test/unbiased"})):
            return
        time.sleep(0.05)
    raise AssertionError(f"no {steps} values in MongoDB")


def test_an_outage_in_mid_run(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server dies after it has got the first metrics; when it is back, the rest is added once."""
    monkeypatch.setattr(mongo_record, "MONGO_TIMEOUT_MS", 500)
    number, evaluated = free_port(), RunRecorder.evaluated
    with running_server(number, tmp_path / "mongo") as server:

        def evaluate_and_stop(*arguments: Any) -> None:
            evaluated(*arguments)
            if arguments[2].epoch == 2:
                wait_for_steps(number, 2)
                server.send_signal(signal.SIGKILL)

        monkeypatch.setattr(RunRecorder, "evaluated", evaluate_and_stop)
        words = ("with", "digits", "method=erm", "epochs=4", "evaluate_images=50")
        outcome = command("-m", f"localhost:{number}:x", "--beat-interval=0.05", *words)
        assert "not complete in MongoDB" in outcome.out
        server.wait()
    with running_server(number, tmp_path / "mongo"):
        database = pymongo.MongoClient[Any]("localhost", number)["x"]
        (run,), (partial,) = database.runs.find(), database.metrics.find({"name": "test/unbiased"})
        assert (run["status"], len(run["artifacts"])) == ("RUNNING", 1)
        assert len(partial["steps"]) in (1, 2)  # a server that is killed may lose the last tenth of a second
        done = command("-m", f"localhost:{number}:x", "sync", data=False)
        assert "0 copied, 1 completed, 0 already there" in done.out
        (found,) = content_of(number, "x").values()
        metrics = dict(found["metrics"])
        assert metrics["test/unbiased"]["steps"] == outcome.record("metrics.json")["test/unbiased"]["steps"]
        assert len(metrics["test/unbiased"]["values"]) == 4
        equal_answers(tmp_path / "runs", number, "x")
        assert "0 copied, 0 completed, 1 already there" in command("-m", f"localhost:{number}:x", "sync").out


def as_it_was(folder: Path) -> None:
    """Take a complete record back to the middle of its run."""
    run, lines = json.loads((folder / "run.json").read_text()), (folder / "evaluations.jsonl").read_text().splitlines()
    run |= {"status": "RUNNING", "result": None, "artifacts": ["samples.png"]}
    # a while ago: nobody is at work on it
    run |= dict.fromkeys(("start_time", "heartbeat"), "2026-11-22T10:00:00.123456")
    del run["stop_time"]
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "evaluations.jsonl").write_text("\n".join(lines[:2]) + "\n")
    metrics = json.loads((folder / "metrics.json").read_text())
    half = {name: {key: values[:1] for key, values in series.items()} for name, series in metrics.items()}
    (folder / "metrics.json").write_text(json.dumps(half))


def test_a_run_that_goes_on(command: Command, port: int, tmp_path: Path) -> None:
    """What there is of it is copied; the next copy is the same as if there had been none before."""
    (folder,) = command("with", "digits", "method=erm", "epochs=2", "evaluate_images=50").runs
    shutil.copytree(folder, tmp_path / "complete")
    as_it_was(folder)
    address = f"localhost:{port}:goes_on"
    assert "1 copied" in command("-m", address, "sync", data=False).out
    assert "1 already there" in command("-m", address, "sync", data=False).out
    (found,) = content_of(port, "goes_on").values()
    assert [name for name, *_ in found["artifacts"]] == ["samples.png", "evaluations.jsonl"]
    assert len(MongoStore(address).find(EVERYTHING)[0].history().evaluations) == 1
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "complete", folder)
    assert "0 copied, 1 completed" in command("-m", address, "sync", data=False).out
    command("-m", f"localhost:{port}:at_once", "sync", data=False)
    assert content_of(port, "goes_on") == content_of(port, "at_once")
    equal_answers(tmp_path / "runs", port, "goes_on")
    # an older state of the files takes nothing away
    as_it_was(folder)
    assert "1 already there" in command("-m", address, "sync", data=False).out
    assert content_of(port, "goes_on") == content_of(port, "at_once")


def test_a_run_that_writes_to_mongodb_itself_is_left_to_it(command: Command, port: int, tmp_path: Path) -> None:
    address = f"localhost:{port}:writes"
    (folder,) = command("-m", address, *SMOKE).runs
    as_it_was(folder)
    run = json.loads((folder / "run.json").read_text())
    run["heartbeat"] = datetime.now(UTC).replace(tzinfo=None).isoformat()
    (folder / "run.json").write_text(json.dumps(run))
    runs = pymongo.MongoClient[Any]("localhost", port)["writes"].runs
    begun = {"status": "RUNNING", "heartbeat": None, "start_time": datetime.now(UTC)}
    runs.update_one({}, {"$set": begun, "$unset": {"stop_time": 1}})
    before = runs.find_one()
    outcome = command("-m", address, "sync", data=False)
    assert "0 already there, 1 running, and up to date within seconds" in outcome.out
    assert runs.find_one() == before


@pytest.mark.parametrize("puts", [0, 1, 3, 150])
def test_an_interrupted_copy(
    command: Command, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    """It breaks off after so many files; the next one continues, and stores none twice."""
    command(*SMOKE)
    address, put = f"localhost:{port}:interrupted{puts}", gridfs.GridFS.put
    stored: list[Any] = []

    def put_some(*arguments: Any, **settings: Any) -> Any:
        if len(stored) == puts:
            raise pymongo.errors.AutoReconnect("connection closed")
        stored.append(arguments)
        return put(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(gridfs.GridFS, "put", put_some)
        outcome = command("-m", address, "sync", data=False)
    if puts < 150:
        assert outcome.code == 2
        assert f"MongoDB at {address} failed (connection closed); the next sync continues from there" in outcome.err
        assert MongoStore(address).find(EVERYTHING) == []
    assert command("-m", address, "sync", data=False).code == 0
    files = pymongo.MongoClient[Any]("localhost", port)[f"interrupted{puts}"].fs.files
    names = [file["filename"] for file in files.find()]
    assert len(names) == len(set(names))
    assert len(content_of(port, f"interrupted{puts}")) == 1
    equal_answers(tmp_path / "runs", port, f"interrupted{puts}")


def test_damaged_records_are_left_out(command: Command, port: int, tmp_path: Path) -> None:
    (folder,) = command(*SMOKE).runs
    damages = {
        "20261122-100000-0001": ("run.json", "{"),
        "20261122-100000-0002": ("metrics.json", '{"loss": {"steps": [1]}}'),
        "20261122-100000-0003": ("last.safetensors", None),
        "20261122-100000-0004": ("run.json", '{"status": "COMPLETED", "command": "train"}'),
    }
    for name, (file, text) in damages.items():
        copied = shutil.copytree(folder, tmp_path / "runs" / name)
        (copied / file).unlink() if text is None else (copied / file).write_text(text)
    outcome = command("-m", f"localhost:{port}:damaged", "sync", data=False)
    assert outcome.code == 0
    assert "1 copied, 0 completed, 0 already there, 4 damaged" in outcome.out
    lines = outcome.err.splitlines()
    assert len(lines) == 4
    for name, (file, _) in damages.items():
        assert any(line.startswith("left out: ") and name in line and file in line for line in lines), name
    assert list(content_of(port, "damaged")) == [folder.name]


def test_only_the_runs_that_are_asked_for(command: Command, port: int) -> None:
    for method in ("erm", "lff"):
        command("with", "smoke", f"method={method}")
    assert "1 copied" in command("-m", f"localhost:{port}:lff", "sync", "with", "method=lff", data=False).out
    (run,) = content_of(port, "lff").values()
    assert run["config"]["method"]["name"] == "lff"


def test_bad_places(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path / "runs")
    monkeypatch.setattr(mongo_record, "MONGO_TIMEOUT_MS", 300)
    closed = f"localhost:{free_port()}:x"
    for words, error in (
        (["sync"], "where to? Name the MongoDB with -m HOST:PORT:DB"),
        (["-m", closed, "sync"], f"MongoDB at {closed} cannot be used"),
        (["-m", closed, "sync", "with", "log_dir=none"], "no folder of records none"),
    ):
        outcome = command(*words, data=False)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith(f"error: {error}")
        assert outcome.err.count("\n") == 1


def test_the_server_dies_during_a_copy(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_record, "MONGO_TIMEOUT_MS", 500)
    command(*SMOKE)
    number = free_port()
    with running_server(number, tmp_path / "mongo") as server:

        def connect_and_lose(url: str) -> MongoCopy:
            database = MongoCopy(url)
            server.kill()
            server.wait()
            return database

        monkeypatch.setattr(sync_command, "MongoCopy", connect_and_lose)
        outcome = command("-m", f"localhost:{number}:x", "sync", data=False)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: MongoDB at localhost:{number}:x failed (")
    assert outcome.err.count("\n") == 1
