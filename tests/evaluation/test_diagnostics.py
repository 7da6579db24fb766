from dataclasses import replace
from pathlib import Path

import pytest
import torch

from debiaslab.analysis.plots import has_diagnostics, save_diagnostics
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.evaluation.diagnostics import sample_diagnostics, selection_report, tabulate_samples
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.methods import SampleNotes
from debiaslab.recording.recorder import scalars

ALIGNED = torch.eye(2, dtype=torch.bool)
# conflicting are the samples 1 and 4
TRAIN = Split(torch.zeros(6, 3, 2, 2), torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 0, 1]))
DATA = BiasedDataset("six", TRAIN, None, TRAIN, 2, 2, "six")


def notes_of(weights: list[float] | None, taken: list[bool] | None) -> SampleNotes:
    return SampleNotes(
        weight=None if weights is None else torch.tensor(weights),
        conflicting=None if taken is None else torch.tensor(taken),
    )


def diagnostics(weights: list[float] | None, taken: list[bool] | None) -> dict[str, float]:
    return sample_diagnostics(notes_of(weights, taken), DATA)


def test_weights_precision_and_recall() -> None:
    found = diagnostics([0.1, 0.9, 0.2, 0.7, 0.3, 0.0], [False, True, True, True, False, False])
    assert found == pytest.approx(
        {
            "weight/aligned": 0.25,
            "weight/conflicting": 0.6,
            "conflicting/precision": 1 / 3,
            "conflicting/recall": 0.5,
        }
    )


def test_samples_without_a_weight_yet_do_not_count() -> None:
    nan = float("nan")
    found = diagnostics([0.1, nan, nan, 0.7, 0.3, nan], None)
    assert found == pytest.approx({"weight/aligned": 0.4, "weight/conflicting": 0.3})


def test_what_is_not_there_is_left_out() -> None:
    assert diagnostics(None, None) == {}
    assert diagnostics([float("nan")] * 6, None) == {}
    assert diagnostics(None, [False] * 6) == {"conflicting/recall": 0.0}


def test_selection_report() -> None:
    kept = torch.tensor([True, False, True, False, True, True])
    assert selection_report(kept, DATA) == {
        "aligned": {"total": 4, "kept": 3},
        "conflicting": {"total": 2, "kept": 1},
        "precision": 0.5,
        "recall": 0.5,
        "kept": [0, 2, 4, 5],
    }
    assert selection_report(torch.ones(6, dtype=torch.bool), DATA)["precision"] is None


def history(phases: dict[str, dict[str, float]], branches: list[str]) -> History:
    """Three evaluations of each phase, phase -> diagnostics."""
    counts = [[3, 0], [1, 2]]
    correct = {split: dict.fromkeys(branches, counts) for split in ("valid", "test")}
    evaluations = [
        Evaluation(phase, epoch, 10 * epoch, 10 * epoch, {"loss": 1 / epoch, "swap": 0.0}, correct, values)
        for phase, values in phases.items()
        for epoch in (1, 2, 3)
    ]
    total = [[4, 4], [4, 4]]
    return History(evaluations, {"valid": total, "test": total}, ALIGNED.tolist())


def test_recorded_by_name() -> None:
    run = history({"bias_1": {"weight/aligned": 0.25}, "train": {"weight/aligned": 0.5}}, ["debiased", "biased"])
    first, last = run.evaluations[0], run.evaluations[-1]
    assert scalars(run, first, "train")["bias_1/diagnostics/weight/aligned"] == 0.25
    assert scalars(run, last, "train")["diagnostics/weight/aligned"] == 0.5


def test_picture_of_phases_with_weights_or_another_branch(tmp_path: Path) -> None:
    assert not has_diagnostics(history({"train": {}}, ["classifier"]))
    assert has_diagnostics(history({"train": {}}, ["target", "deep"]))
    run = history({"bias_1": {}, "train": {"weight/aligned": 0.1, "conflicting/recall": 0.4}}, ["debiased"])
    assert has_diagnostics(run)
    save_diagnostics(tmp_path / "diagnostics.png", run, "a title")
    one_row = (tmp_path / "diagnostics.png").read_bytes()
    assert one_row.startswith(b"\x89PNG")
    save_diagnostics(tmp_path / "two.png", history({"separate": {}, "distill": {}}, ["target", "deep"]), "a title")
    height = [int.from_bytes(png[20:24], "big") for png in (one_row, (tmp_path / "two.png").read_bytes())]
    assert 1.9 * height[0] < height[1] < 2 * height[0]  # two rows, and one title


def test_tabulate_samples() -> None:
    assert tabulate_samples(notes_of(None, None), DATA) == {}
    found = tabulate_samples(notes_of([0.1, 0.9, 0.2, 0.7, 0.3, 0.0], None), DATA)
    assert list(found) == ["target", "bias", "weight", "conflicting"]
    assert found["target"].tolist() == [0, 0, 0, 1, 1, 1]
    assert found["conflicting"].tolist() == [False, True, False, False, True, False]
    unknown = replace(DATA, train=replace(TRAIN, bias=torch.full((6,), -1)))
    assert "conflicting" not in tabulate_samples(notes_of([0.1] * 6, None), unknown)


def test_decodability_alone_makes_no_picture() -> None:
    assert not has_diagnostics(history({"train": {"decodability/bias/classifier": 0.4}}, ["classifier"]))
