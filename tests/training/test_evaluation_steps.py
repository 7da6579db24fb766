"""When a phase is evaluated."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from debiaslab.core.errors import TrainingDiverged
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import Batch, Phase
from debiaslab.training.loop import Trainer
from tests.methods.building import Watch, build, short_setup, trainer


def erm_trainer(
    data: BiasedDataset, folder: Path, steps: Sequence[int] | None, watch: Watch, diverge_at: int | None = None
) -> Trainer:
    """Of 45 steps with 19 in an epoch; the loss is not-a-number at step `diverge_at`."""
    setup = short_setup("erm", folder)
    method = build(setup, data)
    (phase,) = method.phases()

    def update(batch: Batch) -> dict[str, Tensor]:
        scalars = phase.update(batch)
        return {"loss": scalars["loss"] * torch.nan} if batch.step == diverge_at else scalars

    def phases() -> Sequence[Phase]:
        return [replace(phase, evaluation_steps=steps, update=update)]

    method.phases = phases  # type: ignore[method-assign]
    return trainer(setup, method, data, watch, folder / "state.safetensors")


def evaluated(watch: Watch) -> list[int]:
    return [evaluation.phase_step for evaluation in watch.evaluations]


def test_after_each_epoch_and_at_the_end(digits: BiasedDataset, tmp_path: Path) -> None:
    watch = Watch()
    erm_trainer(digits, tmp_path, None, watch).fit()
    assert evaluated(watch) == [19, 38, 45]


def test_exactly_at_the_steps_that_a_phase_names(digits: BiasedDataset, tmp_path: Path) -> None:
    watch = Watch()
    outcome = erm_trainer(digits, tmp_path, [1, 22], watch).fit()
    assert evaluated(watch) == [1, 22]
    assert watch.updates == 45
    assert [evaluation.epoch for evaluation in outcome.history.evaluations] == [1, 2]


def test_resume_between_named_steps(digits: BiasedDataset, tmp_path: Path) -> None:
    expected = erm_trainer(digits, tmp_path / "whole", [1, 22, 30], Watch()).fit()
    with pytest.raises(KeyboardInterrupt):
        erm_trainer(digits, tmp_path / "part", [1, 22, 30], Watch(interrupt_at=26)).fit()
    again = erm_trainer(digits, tmp_path / "again", [1, 22, 30], Watch())
    again.restore(tmp_path / "part" / "state.safetensors")
    assert again.phase_step == 22
    outcome = again.fit()
    assert outcome.history == expected.history
    assert all(torch.equal(tensor, expected.selected[name]) for name, tensor in outcome.selected.items())


def test_a_loss_that_breaks_after_the_last_evaluation_is_noticed(digits: BiasedDataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="loss is nan in phase train at or before step 45"):
        erm_trainer(digits, tmp_path, [1, 22], Watch(), diverge_at=40).fit()
