"""A run of a method that selects samples records the selection."""

import pytest

from tests.conftest import Command


def test_selection_and_diagnostics_are_artifacts(command: Command) -> None:
    outcome = command("with", "smoke", "method=lff_be", "method.hparams.ensemble_confidence=0.1")
    assert outcome.code == 0
    assert outcome.record("config.json")["method"]["hparams"]["ensemble_steps"] == 8
    assert {"selection.json", "diagnostics.png", "samples.safetensors"} <= set(outcome.record("run.json")["artifacts"])
    report = outcome.record("selection.json")
    assert len(report["kept"]) == report["aligned"]["kept"] + report["conflicting"]["kept"]
    assert report["aligned"]["total"] + report["conflicting"]["total"] == 1_200
    metrics = outcome.record("metrics.json")
    assert "diagnostics/weight/conflicting" in metrics
    assert metrics["diagnostics/conflicting/recall"]["values"][-1] == pytest.approx(report["recall"])


def test_methods_without_them_have_neither(command: Command) -> None:
    outcome = command("with", "smoke", "method=erm")
    assert outcome.code == 0
    assert not {"selection.json", "diagnostics.png", "samples.safetensors"} & set(
        outcome.record("run.json")["artifacts"]
    )
