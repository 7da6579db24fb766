"""`resume RUN`: the settings come from the record; the result is that of a run that was never disturbed."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.test_resume import SETTINGS, kill_after, measured, start

pytestmark = pytest.mark.processes


def test_resume_by_the_run_alone(tmp_path: Path, data_root: Path, digits: object, command: Command) -> None:
    record = kill_after(start(tmp_path, data_root), tmp_path, evaluations=3)
    for words, found in (
        (["method=erm"], "is of method=denetdm"),
        (["epochs=7"], "is of a run with method.hparams.epochs=6, not 7"),
        ([f"resume={record}"], "the run to resume follows the command"),
    ):
        outcome = command("resume", str(record), "with", *words, data=False)
        assert outcome.code == 2
        assert found in outcome.err
        assert len(outcome.err.splitlines()) == 1
    done = command("resume", record.name[:-2], "with", "workers=1", "log_dir=runs", data=False)
    assert done.code == 0, done.err
    (resumed,) = done.runs
    (whole,) = command("with", *SETTINGS, "log_dir=whole").runs
    assert measured(whole) == measured(resumed)
    assert json.loads((resumed / "info.json").read_text())["resumed_from"] == f"runs/{record.name}"
    config = json.loads((resumed / "config.json").read_text())
    assert (config["workers"], config["method"]["name"]) == (1, "denetdm")
    again = command("resume", str(resumed), data=False)
    assert again.code == 2
    assert "is complete; to repeat it, python main.py rerun" in again.err
