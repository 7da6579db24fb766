"""Records in files: parallel starts, failures, and what an interruption leaves."""

import json
import multiprocessing
import os
import sqlite3
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy
import pytest

from debiaslab.analysis.file_store import INDEX, FileStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.commands.studies.recorded import try_lock
from debiaslab.config import ex
from debiaslab.core import files
from debiaslab.core.errors import UserError
from debiaslab.recording.observers import STATE, FileRecord
from tests.conftest import Command


def test_parallel_starts_do_not_collide(tmp_path: Path) -> None:
    """Twenty records begun at the same moment by four processes, without training."""
    fork = multiprocessing.get_context("fork")
    moment, begun = fork.Barrier(4), fork.SimpleQueue()

    def begin_five() -> None:
        moment.wait()
        for _ in range(5):
            begun.put(start_record(tmp_path / "runs", {"sources": [], "base_dir": "."}))

    processes = [fork.Process(target=begin_five) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    ids = [begun.get() for _ in range(20)]
    assert len(ids) == len(set(ids)) == 20
    assert sorted(ids) == sorted(os.listdir(tmp_path / "runs"))
    for identifier in ids:
        assert json.loads((tmp_path / "runs" / identifier / "run.json").read_text())["status"] == "RUNNING"


def test_a_record_has_the_code_the_config_and_the_environment(command: Command) -> None:
    outcome = command("with", "smoke", "method=erm")
    run, config, info = (outcome.record(name) for name in ("run.json", "config.json", "info.json"))
    sources = {name for name, _ in run["experiment"]["sources"]}
    assert {"main.py", "config.py", "methods/erm.py", "training/loop.py", "datasets/digits.py"} <= sources
    assert config["method"] == {
        "name": "erm",
        "recipe": "debiaslab",
        "hparams": {**config["method"]["hparams"], "num_steps": 20, "epochs": None},
    }
    assert info["data"]["sizes"] == {"train": 1200, "valid": 200, "test": 397}
    metrics = outcome.record("metrics.json")
    assert {"loss", "test/unbiased", "valid/conflicting", "test/worst_group"} <= set(metrics)
    assert metrics["test/unbiased"]["steps"] == [20]
    assert metrics["test/unbiased"]["values"][-1] == run["result"]["last"]["test/unbiased"]


def test_group_counts_of_every_evaluation(command: Command) -> None:
    outcome = command("with", "smoke", "method=denetdm", "method.hparams.batch_size=64")
    (folder,) = outcome.runs
    sizes, *evaluations = map(json.loads, (folder / "evaluations.jsonl").read_text().splitlines())
    assert sum(map(sum, sizes["total"]["test"])) == 397
    for evaluation in evaluations:
        for split, branches in evaluation["correct"].items():
            for counts in branches.values():
                correct, total = numpy.array(counts), numpy.array(sizes["total"][split])
                assert ((correct >= 0) & (correct <= total)).all()
    assert [list(evaluation["correct"]["test"]) for evaluation in evaluations[::2]] == [
        ["shallow", "deep", "product"],
        ["target", "deep", "product"],
    ]


def test_unobserved_run_leaves_nothing(command: Command, tmp_path: Path) -> None:
    outcome = command("-u", "with", "smoke", "method=erm")
    assert outcome.code == 0
    assert "not recorded" in outcome.out
    assert outcome.runs == []


def test_a_record_that_cannot_be_completed_is_told(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write = files.atomic_write

    def full_at_the_end(path: Path) -> AbstractContextManager[Path]:
        if path.name == "run.json" and ex.current_run is not None and ex.current_run.status == "COMPLETED":
            raise UserError(f"cannot write {path}: No space left on device; free the disk or choose another folder")
        return write(path)

    monkeypatch.setattr("debiaslab.recording.observers.atomic_write", full_at_the_end)
    outcome = command("with", "smoke", "method=erm")
    assert outcome.code == 2
    assert outcome.err.startswith("error: cannot write ")
    assert "No space left on device" in outcome.err
    assert outcome.record("run.json")["status"] == "FAILED"
    assert (outcome.runs[0] / STATE).exists()


def start_record(folder: Path, sources: dict[str, object]) -> str:
    """Begin a record in `folder`; returns its id."""
    start: Any = FileRecord(str(folder)).started_event
    return str(start(sources, "train", {}, datetime.now(), {}, {}, None))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, whose files are its group's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o2777)
        yield Path(name)


def as_user(number: int, work: Callable[[], object]) -> None:
    """Do it as another user, of the same group as other such users, with the usual umask."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(1001)
            os.setuid(number)
            os.umask(0o022)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_two_users_share_a_folder(open_folder: Path) -> None:
    """Each adds records, code and locks to what the other has made there; the index is brought up to date by both."""
    source, runs = open_folder / "source.py", open_folder / "deep" / "runs"

    def record() -> None:
        files.require_writable(runs, "log_dir")
        sources: dict[str, object] = {"sources": [("source.py", "")], "base_dir": str(open_folder)}
        start_record(runs, sources)
        FileStore(runs).find(EVERYTHING)
        lock = try_lock(runs, "job")
        assert lock is not None
        lock.close()

    for number, code in ((1001, "one"), (1002, "another"), (1001, "a third")):
        source.write_text(code)
        as_user(number, record)
    assert len(list(runs.glob("*/run.json"))) == 3
    assert len(list((runs / "_sources").iterdir())) == 3
    with closing(sqlite3.connect(runs / INDEX)) as index:
        assert index.execute("SELECT count(*) FROM runs").fetchone() == (3,)


def test_a_folder_of_records_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "_sources").touch()  # not a folder
    (tmp_path / "source.py").touch()
    sources: dict[str, object] = {"sources": [("source.py", "")], "base_dir": str(tmp_path)}
    with pytest.raises(UserError, match=r"^cannot write .*/_sources.*: .*; choose another folder with log_dir=DIR$"):
        start_record(tmp_path / "runs", sources)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["_sources"]
