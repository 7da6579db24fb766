"""`resume RUN`: the settings come from the record; the result is that of a run that was never disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.test_resume import ROOT, kill_after, measured, record_of, start

pytestmark = pytest.mark.processes


def resume(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "resume", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_resume_by_the_run_alone(tmp_path: Path, data_root: Path, digits: object, command: Command) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    undisturbed = start(whole, data_root)
    record = kill_after(start(killed, data_root), killed, evaluations=3)
    for words, found in (
        (["method=erm"], "is of method=denetdm"),
        (["epochs=7"], "is of a run with method.hparams.epochs=6, not 7"),
        ([f"resume={record}"], "the run to resume follows the command"),
    ):
        outcome = command("resume", str(record), "with", *words, data=False)
        assert outcome.code == 2
        assert found in outcome.err
        assert len(outcome.err.splitlines()) == 1
    done = resume(killed, record.name[:-2], "with", "workers=1", "log_dir=runs")
    assert done.returncode == 0, done.stderr
    undisturbed.communicate(timeout=600)
    [resumed] = [file.parent for file in killed.glob("runs/*/run.json") if file.parent != record]
    assert measured(record_of(whole)) == measured(resumed)
    assert json.loads((resumed / "info.json").read_text())["resumed_from"] == f"runs/{record.name}"
    config = json.loads((resumed / "config.json").read_text())
    assert (config["workers"], config["method"]["name"]) == (1, "denetdm")
    again = command("resume", str(resumed), data=False)
    assert again.code == 2
    assert "is complete; to repeat it, python main.py rerun" in again.err
