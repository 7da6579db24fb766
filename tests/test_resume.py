"""A run that is killed and resumed ends like one that was never disturbed, bit by bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from debiaslab import main
from debiaslab.recording.observers import STATE
from debiaslab.training.checkpoint import LAST, SELECTED
from tests.conftest import Command, Outcome

pytestmark = pytest.mark.processes

ROOT = Path(main.__file__).parents[1]
SETTINGS = ("digits", "method=denetdm", "epochs=6", "method.hparams.batch_size=128", "checkpoint_seconds=0")


def start(folder: Path, data_root: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "main.py"), "with", *SETTINGS, f"data.root={data_root}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def record_of(folder: Path) -> Path:
    (record,) = (file.parent for file in folder.glob("runs/*/run.json"))
    return record


def kill_after(process: "subprocess.Popen[str]", folder: Path, evaluations: int) -> Path:
    """SIGKILL as soon as so many evaluations are recorded and the state is saved; returns the record's folder."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        for file in folder.glob("runs/*/evaluations.jsonl"):
            if len(file.read_text().splitlines()) > evaluations and (file.parent / STATE).exists():
                process.send_signal(signal.SIGKILL)
                process.wait()
                return record_of(folder)
        time.sleep(0.002)
    pytest.fail(f"no {evaluations} evaluations: {process.communicate()}")


def measured(record: Path) -> tuple[bytes, bytes, list[str], dict[str, object]]:
    """Weights, evaluations and metrics of a complete run: everything but times."""
    metrics = json.loads((record / "metrics.json").read_text())
    return (
        (record / LAST).read_bytes(),
        (record / SELECTED).read_bytes(),
        (record / "evaluations.jsonl").read_text().splitlines(),
        {name: (metric["steps"], metric["values"]) for name, metric in metrics.items()},
    )


def test_kill_in_both_phases_and_resume(tmp_path: Path, data_root: Path, digits: object, command: Command) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    killed_in_separation = kill_after(start(first, data_root), first, evaluations=3)
    # go on, and kill again in the distillation phase
    killed_in_distillation = kill_after(
        start(second, data_root, f"resume={killed_in_separation}"), second, evaluations=9
    )
    lines = (killed_in_distillation / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["phase"] == "distill"
    resumed, undisturbed = command("with", *SETTINGS, f"resume={killed_in_distillation}"), command("with", *SETTINGS)
    for outcome in (resumed, undisturbed):
        assert (outcome.code, outcome.err) == (0, ""), outcome.out
    assert measured(undisturbed.runs[0]) == measured(resumed.runs[0])
    assert json.loads((killed_in_separation / "run.json").read_text())["status"] == "RUNNING"
    assert resumed.record("info.json")["resumed_from"] == str(killed_in_distillation)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_interruption_says_how_to_resume(tmp_path: Path, data_root: Path, digits: object, number: int) -> None:
    """SIGINT too where a shell has set it to ignored, as for what a script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(tmp_path, data_root, "epochs=100000")
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f"runs/*/{STATE}")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    record = record_of(tmp_path)
    assert process.returncode == 130
    assert json.loads((record / "run.json").read_text())["status"] == "INTERRUPTED"
    assert err.startswith("interrupted; to resume: python main.py with digits ")
    assert err.strip().endswith(f"resume=runs/{record.name}")


def test_other_settings_do_not_resume(tmp_path: Path, data_root: Path, digits: object, command: Command) -> None:
    record = kill_after(start(tmp_path, data_root), tmp_path, evaluations=2)
    for words, message in (
        ([*SETTINGS, "seed=2"], "is of a run with seed=1, not 2"),
        ([*SETTINGS, "data.skew=0.5"], "is of a run with data.skew=0.02, not 0.5"),
        (["digits", "epochs=6", "method=erm"], "is of a run with method.name='denetdm', not 'erm'"),
    ):
        outcome: Outcome = command("with", *words, f"resume={record}")
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.runs == []
    state = record / STATE
    outcome = command("with", *SETTINGS, "train=False", f"checkpoint={state}")
    assert outcome.code == 2
    assert "is the state of an unfinished run; continue it with resume=" in outcome.err
