"""Commands for a RUN that is recorded in MongoDB alone, as on another machine than the one that trained it."""

import shutil
from pathlib import Path

import pytest

from tests.commands.test_evaluate_run import counts
from tests.conftest import Command
from tests.datasets.own_images import SIZE, bias, save_digits, split, target, write_csv
from tests.recording.test_mongo import database

WORDS = (f"data.image_size={SIZE}", "method=erm", "model=mlp", "epochs=2", "data.augment=none")


@pytest.fixture
def address(port: int, tmp_path: Path) -> str:
    return f"localhost:{port}:{tmp_path.name}"


@pytest.fixture
def run(command: Command, address: str, tmp_path: Path) -> Path:
    """A complete run on images of one's own. Its folder has been moved to where no command looks."""
    (tmp_path / "mine" / "images").mkdir(parents=True)
    save_digits(tmp_path / "mine" / "images")
    csv = write_csv(
        tmp_path / "mine" / "all.csv", "path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}"
    )
    outcome = command("-m", address, "with", "custom", f"data.csv={csv}", *WORDS)
    assert outcome.code == 0, outcome.err
    (record,) = outcome.runs
    return Path(shutil.move(record, tmp_path / "elsewhere" / record.name))


def test_evaluate_and_predict(command: Command, address: str, run: Path) -> None:
    """What they find is what they find in the run's folder."""
    for rule in ("last", "best_valid_unbiased"):
        there = command("evaluate", str(run), "with", f"rule={rule}", "log_dir=there", data=False)
        found = command("-m", address, "evaluate", run.name[:-1], "with", f"rule={rule}", data=False)
        assert (found.code, found.err) == (0, "")
        assert counts(found.runs[0]) == counts(there.runs[0])
        assert found.record("info.json")["evaluates"] == run.name
        assert Path(found.record("config.json")["checkpoint"]).parent.name == run.name
    for number, words in enumerate(([str(run)], ["-m", address, run.name])):
        *options, name = words
        outcome = command(*options, "predict", name, "with", "images=mine/images", f"out={number}.csv", data=False)
        assert (outcome.code, outcome.err) == (0, "")
    assert Path("0.csv").read_bytes() == Path("1.csv").read_bytes()


def test_finetune(command: Command, address: str, run: Path) -> None:
    outcome = command("-m", address, "finetune", run.name, "with", "epochs=1", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.record("info.json")["finetunes"] == run.name


def test_resume_needs_the_folder(command: Command, address: str, port: int, run: Path) -> None:
    runs = database(port, run.parents[1].name).runs
    runs.update_one({"run_id": run.name}, {"$set": {"status": "INTERRUPTED"}})
    host = runs.find_one({"run_id": run.name})["host"]["hostname"]
    outcome = command("-m", address, "resume", run.name, data=False)
    assert outcome.code == 2
    assert f"state of the run {run.name} is not in MongoDB but in its folder runs/{run.name} on {host}:" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.runs == []
