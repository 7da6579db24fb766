"""A run of a method that selects samples records the selection."""

import json
from pathlib import Path

import pytest

import main  # noqa: F401 - completes the experiment
from config import ex


def test_selection_and_diagnostics_are_artifacts(tmp_path: Path) -> None:
    settings = {
        "data": {"name": "digits", "cache": str(tmp_path / "cache")},
        "method": {"name": "lff_be", "hparams": {"ensemble_confidence": 0.1, "num_steps": 20}},
        "log_dir": str(tmp_path / "runs"),
    }
    run = ex.run(config_updates=settings, named_configs=["smoke"])
    assert run.config["method"]["hparams"]["ensemble_steps"] == 5
    folder = tmp_path / "runs" / str(run._id)
    artifacts = json.loads((folder / "run.json").read_text())["artifacts"]
    assert {"selection.json", "diagnostics.png"} <= set(artifacts)
    report = json.loads((folder / "selection.json").read_text())
    counts = report["aligned"]["kept"] + report["conflicting"]["kept"]
    assert len(report["kept"]) == counts
    assert report["aligned"]["total"] + report["conflicting"]["total"] == 1_200
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "diagnostics/weight/conflicting" in metrics
    assert metrics["diagnostics/conflicting/recall"]["values"][-1] == pytest.approx(report["recall"])
