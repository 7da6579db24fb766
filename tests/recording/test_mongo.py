"""Records in a real MongoDB server."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import gridfs
import pymongo
import pytest

from debiaslab.core.errors import UserError
from debiaslab.core.mongo import MONGO_URL, parse_address, without_password
from debiaslab.recording import mongo_record
from debiaslab.recording.server import free_port, running_server
from debiaslab.settings.setup import Setup
from tests.conftest import Command

SECRET = "hunter2"


def database(port: int, name: str) -> Any:
    return pymongo.MongoClient("localhost", port)[name]


def test_a_run_is_in_both_places(command: Command, port: int) -> None:
    outcome = command("-m", f"localhost:{port}:both", "with", "smoke", "method=denetdm")
    (folder,) = outcome.runs
    assert (outcome.code, outcome.err) == (0, "")
    assert f"recorded in MongoDB localhost:{port}:both as run {folder.name}" in outcome.out
    run = database(port, "both").runs.find_one({"run_id": folder.name})
    file = outcome.record("run.json")
    assert run["status"] == file["status"] == "COMPLETED"
    assert run["config"] == outcome.record("config.json")
    assert run["result"] == file["result"]
    artifacts = {artifact["name"]: artifact["file_id"] for artifact in run["artifacts"]}
    assert set(artifacts) == {
        "samples.png",
        "curves.png",
        "diagnostics.png",
        "evaluations.jsonl",
        "last.safetensors",
        "selected.safetensors",
    }
    stored = gridfs.GridFS(database(port, "both"))
    for name, identifier in artifacts.items():
        assert stored.get(identifier).read() == (folder / name).read_bytes()
    for name, metric in outcome.record("metrics.json").items():
        recorded = database(port, "both").metrics.find_one({"run_id": run["_id"], "name": name})
        assert (recorded["steps"], recorded["values"]) == (metric["steps"], metric["values"])


def test_incense_reads_the_record(command: Command, port: int) -> None:
    from incense import ExperimentLoader

    command("-m", f"localhost:{port}:incense", "with", "smoke", "method=erm")
    loader = ExperimentLoader(mongo_uri=f"mongodb://localhost:{port}", db_name="incense")
    experiment = loader.find_by_id(1)
    assert experiment.config.method.name == "erm"
    assert list(experiment.metrics["test/unbiased"].index) == [20]
    assert set(experiment.artifacts) >= {"samples.png", "curves.png"}


def test_no_password_in_any_record_or_output(command: Command, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client = database(port, "secrets").client
    client["secrets"].command("createUser", "user", pwd=SECRET, roles=[{"role": "readWrite", "db": "secrets"}])
    url = f"mongodb://user:{SECRET}@localhost:{port}/secrets"
    for words in (["-m", url], [f"-m{url}"], [f"--mongo_db={url}"], [f"--mongo={url}"], []):
        if not words:
            monkeypatch.setenv(MONGO_URL, url)
        outcome = command(*words, "with", "smoke", "method=erm")
        (folder,) = outcome.runs
        assert outcome.code == 0
        assert SECRET not in outcome.out + outcome.err
        for file in folder.iterdir():
            assert SECRET.encode() not in file.read_bytes(), file
        run = database(port, "secrets").runs.find_one({"run_id": folder.name})
        assert run["status"] == "COMPLETED"
        assert SECRET not in json.dumps(run, default=str)


def test_no_server_at_start(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_record, "MONGO_TIMEOUT_MS", 300)
    closed = free_port()
    for address in (f"localhost:{closed}:x", f"mongodb://user:{SECRET}@localhost:{closed}/x"):
        outcome = command("-m", address, "with", "smoke")
        assert outcome.code == 2
        assert f"localhost:{closed}" in outcome.err
        assert "cannot be used" in outcome.err
        assert "make mongo" in outcome.err
        assert SECRET not in outcome.err
        assert outcome.err.count("\n") == 1
        assert outcome.runs == []


@pytest.mark.processes
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_server_dies_in_mid_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(mongo_record, "MONGO_TIMEOUT_MS", 500)
    number = free_port()
    with running_server(number, tmp_path / "mongo") as server:
        stop_after_start(server, how, monkeypatch)
        outcome = command("-m", f"localhost:{number}:x", "with", "smoke", "method=erm")
        server.send_signal(signal.SIGCONT)
    assert outcome.code == 0
    assert outcome.err.count(f"MongoDB at localhost:{number}:x failed") == 1
    assert "this run continues, recorded in files only" in outcome.err
    assert f"not complete in MongoDB localhost:{number}:x" in outcome.out
    assert outcome.record("run.json")["status"] == "COMPLETED"
    assert outcome.record("metrics.json")["test/unbiased"]["steps"] == [20]


@pytest.mark.processes
def test_the_server_dies_while_a_run_starts(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_record, "MONGO_TIMEOUT_MS", 500)
    number = free_port()
    with running_server(number, tmp_path / "mongo") as server:
        store = mongo_record.store_once

        def die_and_store(*arguments: Any) -> Any:
            server.kill()
            server.wait()
            return store(*arguments)

        monkeypatch.setattr(mongo_record, "store_once", die_and_store)
        outcome = command("-m", f"localhost:{number}:x", "with", "smoke", "method=erm")
    assert (outcome.code, outcome.record("run.json")["status"]) == (0, "COMPLETED")
    assert outcome.err.count("\n") == outcome.err.count(f"MongoDB at localhost:{number}:x failed") == 1


def test_a_value_that_mongodb_has_no_type_for(command: Command, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run continues in its folder, and a copy is refused in one line."""
    monkeypatch.setattr("debiaslab.commands.train.facts_of", lambda *_: {"data": {"rows": 10**23}})
    address = f"localhost:{port}:types"
    outcome = command("-m", address, "--beat-interval=0.01", "with", "smoke", "method=erm")
    assert (outcome.code, outcome.record("run.json")["status"]) == (0, "COMPLETED")
    assert f"MongoDB at {address} failed (" in outcome.err
    copied = command("-m", f"localhost:{port}:types_copied", "sync", data=False)
    assert (copied.code, copied.err.count("\n")) == (0, 1)
    assert copied.err.startswith("left out: the record")


def stop_after_start(server: "subprocess.Popen[bytes]", how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server gets the signal when the run is about to train."""
    place = Setup.place

    def stop_and_place(*arguments: Any) -> Any:
        server.send_signal(how)
        return place(*arguments)

    monkeypatch.setattr(Setup, "place", stop_and_place)


@pytest.mark.parametrize(
    ("url", "address", "database"),
    [
        ("localhost:27018:runs", "mongodb://localhost:27018", "runs"),
        ("runs", "mongodb://localhost:27017", "runs"),
        ("mongodb://host:1/db", "mongodb://host:1/db", "db"),
        ("mongodb://user:pw@host/db?authSource=admin", "mongodb://user:pw@host/db?authSource=admin", "db"),
        ("mongodb://host", "mongodb://host", "debiaslab"),
    ],
)
def test_addresses(url: str, address: str, database: str) -> None:
    assert parse_address(url) == (address, database)


@pytest.mark.parametrize(
    "url", ["host:port:db", "host:27017", "a:1:b:c", "host:99999:db", "mongodb://", f"mongodb://u:{SECRET}@h:x/d"]
)
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(UserError, match="cannot read the MongoDB address") as error:
        parse_address(url)
    assert SECRET not in str(error.value)


def test_without_password() -> None:
    assert without_password(f"mongodb://u:{SECRET}@host:1/db?x=y") == "mongodb://host:1/db"
    assert without_password("host:1:db") == "host:1:db"


def test_a_password_with_special_characters() -> None:
    url = f"mongodb://me:{SECRET}@ss:w/ord@127.0.0.1:27017/debiaslab"
    with pytest.raises(UserError, match="special characters are written as %XX: @ as %40") as error:
        parse_address(url)
    assert "127.0.0.1:27017" in str(error.value)
    assert not {SECRET, "ord"} & set(str(error.value).replace("@", " ").split())
