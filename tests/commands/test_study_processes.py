"""`main.py study` in processes of its own: killed, interrupted, started twice, with a run that fails, with MongoDB."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from debiaslab import main
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.mongo_store import MongoStore
from debiaslab.analysis.query import Query
from debiaslab.recording.observers import STATE
from debiaslab.recording.server import free_port, running_server
from tests.conftest import Command
from tests.held import PATIENCE, hold_runs, release_when_signalled
from tests.test_resume import measured

pytestmark = pytest.mark.processes

ROOT = Path(main.__file__).parents[1]
LONG = ("digits", "method=denetdm", "epochs=6", "method.hparams.batch_size=128", "checkpoint_seconds=0")
SHORT = ("digits", "smoke", "method=erm")

Study = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def study(tmp_path: Path, data_root: Path, digits: object) -> Iterator[Study]:
    """Start a study in an empty folder, on the shared data; what a failed test leaves is stopped."""
    started = []

    def start(*words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, str(ROOT / "main.py"), "study", "with", *words, f"data.root={data_root}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen(
                command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def evaluations(folder: Path) -> dict[str, int]:
    """How many each unfinished run has recorded since it began, by its seed."""
    found = {}
    for file in folder.glob("runs/*/evaluations.jsonl"):
        if (file.parent / STATE).exists() and status(file.parent) == "RUNNING":
            found[file.parent.name] = len(file.read_text().splitlines()) - 1
    return found


def status(record: Path) -> str:
    return str(json.loads((record / "run.json").read_text())["status"])


def complete(folder: Path) -> dict[int, Path]:
    """The complete runs by seed; each must be there once."""
    found: dict[int, Path] = {}
    for file in folder.glob("runs/*/run.json"):
        if status(file.parent) == "COMPLETED":
            seed = json.loads((file.parent / "config.json").read_text())["seed"]
            assert seed not in found, "run twice"
            found[seed] = file.parent
    return found


def test_killed_and_interrupted(study: Study, tmp_path: Path, command: Command) -> None:
    words = (*LONG, "seeds=1-2", "jobs=2")
    enough = 1
    for number in (signal.SIGKILL, signal.SIGINT):
        process = study(*words)
        held = hold_runs(process, 2, lambda run_id: evaluations(tmp_path).get(run_id, 0) >= enough)  # noqa: B023
        process.send_signal(number)
        for run in held:
            if number == signal.SIGKILL:
                run.kill()
            else:
                release_when_signalled(run, signal.SIGTERM, process)
        code, out, err = ended(process)
        assert code == (130 if number == signal.SIGINT else -number)
        enough += 2
    assert "stopping 2 runs" in out
    assert "2 to resume" in out
    assert err.startswith("interrupted; to resume: python main.py study with digits method=denetdm ")
    runs = sorted(tmp_path.glob("runs/*/run.json"))
    assert sorted(status(file.parent) for file in runs) == ["INTERRUPTED"] * 2 + ["RUNNING"] * 2
    assert complete(tmp_path) == {}

    before_the_last = {file: file.read_bytes() for file in runs}
    last = command("study", "with", *words)
    assert (last.code, last.err) == (0, "")
    assert "2 runs: 2 to resume; 2 at a time" in last.out
    assert "(n=2)" in last.out
    assert {file: file.read_bytes() for file in before_the_last} == before_the_last  # nothing recorded is changed
    for seed, record in complete(tmp_path).items():
        (whole,) = command("with", *LONG, f"seed={seed}", "log_dir=whole").runs
        assert measured(record) == measured(whole)
    assert set(complete(tmp_path)) == {1, 2}
    assert "2 runs: 2 done" in command("study", "with", *words, "list=True").out


def test_two_studies_at_the_same_time(study: Study, tmp_path: Path) -> None:
    outcomes = [ended(process) for process in [study(*SHORT, "seeds=1-2") for _ in range(2)]]
    for code, out, _ in outcomes:
        assert code == 0
        assert "(n=2)" in out
    assert sum(out.count("finished") for _, out, _ in outcomes) == 2
    assert set(complete(tmp_path)) == {1, 2}


def test_a_run_outlives_its_study(study: Study, tmp_path: Path, command: Command) -> None:
    killed = study(*LONG, "seed=1")
    (run,) = hold_runs(killed, 1, lambda run_id: run_id in evaluations(tmp_path))  # until the next study has met it
    try:
        killed.kill()
        ended(killed)
        assert "1 running in another study" in command("study", "with", *LONG, "seed=1", "list=True").out
        following = study(*LONG, "seed=1")
        lines = following.stdout
        assert lines is not None
        shown = "".join(iter(lambda: next(lines), "waiting   denetdm seed 1: another study runs it\n"))
    finally:
        run.resume()
    code, out, err = ended(following)
    assert (code, err) == (0, "")
    assert "1 run: 1 running in another study" in shown
    assert "done      denetdm seed 1" in out
    assert len(list(tmp_path.glob("runs/*/run.json"))) == 1
    assert set(complete(tmp_path)) == {1}


def test_the_others_go_on_after_a_failure(tmp_path: Path, command: Command) -> None:
    variants = "variants=method.hparams.learning_rate=1e38,skewed1"
    words = ("digits", "smoke", "method=lff", "seed=1", variants)
    outcome = command("study", "with", *words)
    assert (outcome.code, outcome.err) == (1, "")
    failed, output, repeat = outcome.out.splitlines()[-3:]
    label = "lff method.hparams.learning_rate=1e38 seed 1"
    assert failed.startswith(f"FAILED {label}: training stopped: ")
    place, reason = (tmp_path / output.split()[-1]).read_text().strip().splitlines()
    assert place.startswith("recording in ")
    assert failed == f"FAILED {label}: {reason}"
    assert "method.hparams.learning_rate=1e38" in repeat
    assert "to repeat: python main.py with digits smoke" in repeat
    assert "finished  lff skewed1 seed 1" in outcome.out
    assert set(complete(tmp_path)) == {1}
    assert "2 runs: 1 to resume, 1 done" in command("study", "with", *words, "list=True").out


def test_a_study_with_mongodb(command: Command, tmp_path: Path) -> None:
    port = free_port()
    address = f"localhost:{port}:studies"
    with running_server(port, tmp_path / "mongo"):
        outcome = command("-m", address, "study", "with", *SHORT, "seeds=1-2", "jobs=2")
        assert (outcome.code, outcome.err) == (0, "")
        stores = FileStore(tmp_path / "runs"), MongoStore(address)
        in_files, in_mongo = ([record.id for record in store.find(Query({}, "COMPLETED"))] for store in stores)
        assert len(in_files) == 2
        assert sorted(in_files) == sorted(in_mongo)
    refused = command("-m", address, "study", "with", *SHORT, "seed=3")
    assert refused.code == 2
    assert refused.err.startswith(f"error: MongoDB at {address} cannot be used")
    assert len(complete(tmp_path)) == 2


def test_the_table_shows_what_was_accepted(command: Command) -> None:
    shown = ("metric=valid/aligned,test/worst_group", "rule=last", "against=erm (batch_size 64)")
    variants = "variants=method.hparams.batch_size=32,method.hparams.batch_size=64"
    outcome = command("study", "with", *SHORT, variants, "seeds=1", *shown)
    assert (outcome.code, outcome.err) == (0, "")
    for title in ("valid/aligned (%), last", "test/worst_group (%), last"):
        assert title in outcome.out
    assert outcome.out.count("erm (batch_size 32) - erm (batch_size 64) = ") == 2
