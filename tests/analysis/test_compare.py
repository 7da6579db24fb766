from pathlib import Path

import pytest

from analysis import compare
from tests.conftest import Command


def test_tables_side_by_side(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for method in ("denetdm", "erm"):
        command("with", "smoke", f"method={method}", "log_dir=both")
    (tmp_path / "both" / "damaged").mkdir()
    (tmp_path / "both" / "damaged" / "run.json").write_text('{"status": "RUNN')
    assert compare.main([str(tmp_path / "both")]) == 0
    printed = capfd.readouterr()
    titles = next(line for line in printed.out.splitlines() if "denetdm" in line)
    assert "erm" in titles
    assert "conflicting" in printed.out
    assert "damaged is not the record of a run" in printed.err


def test_nothing_to_compare(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compare.main([]) == 2
    assert compare.main([str(tmp_path)]) == 2
    assert "no complete run in" in capfd.readouterr().err
    (folder,) = command("with", "smoke", "method.hparams.optimizer=sgd", "method.hparams.learning_rate=1e30").runs
    assert compare.main([str(folder)]) == 2
    assert "is not complete: FAILED" in capfd.readouterr().err
