from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from debiaslab.core.errors import TrainingDiverged, UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.methods import Batch, Method, Phase
from debiaslab.methods.denetdm import DeNetDM
from debiaslab.methods.erm import ERM
from debiaslab.methods.phase import Descent
from debiaslab.settings.setup import check
from debiaslab.training import loop
from debiaslab.training.batches import Batches
from debiaslab.training.loop import Options, Trainer

Config = dict[str, Any]


class Silent:
    def progress(self, phase: str, step: int, num_steps: int) -> None:
        pass

    def evaluated(self, history: History, evaluation: Evaluation) -> None:
        pass


def trainer(method: str, data: BiasedDataset, hparams: Config, **options: Any) -> Trainer:
    """A trainer of the small networks of `method`."""
    model = {
        "erm": {"name": "mlp", "hparams": {"widths": [8]}},
        "denetdm": {"name": "mlp_branches", "hparams": {"width": 8}},
        "suby": {"name": "mlp", "hparams": {"widths": [8]}},
    }[method]
    setup = check(
        {
            "seed": options.pop("seed", 1),
            "device": "cpu",
            "train": True,
            "checkpoint": None,
            "resume": None,
            "log_dir": "runs",
            "evaluate_every": 1,
            "evaluate_images": None,
            "checkpoint_seconds": 0.0,
            "memory_gb": 4.0,
            "workers": 0,
            "selection": "last",
            "data": {"name": "digits"},
            "method": {"name": method, "recipe": "debiaslab", "hparams": {"batch_size": 64, "epochs": 2, **hparams}},
            "model": model,
        }
    )
    built = setup.build_method(data, torch.device("cpu"))
    return Trainer(built, data, Options(**{"seed": 1, "selection": "last", **options}), Silent())


def test_phases_evaluations_and_steps(digits: BiasedDataset) -> None:
    history = trainer("denetdm", digits, {"distill_epochs": 3}).fit().history
    assert [(point.phase, point.epoch) for point in history.evaluations] == [
        ("separate", 1),
        ("separate", 2),
        ("distill", 1),
        ("distill", 2),
        ("distill", 3),
    ]
    steps = len(digits.train) // 64
    assert [point.step for point in history.evaluations] == [steps * count for count in (1, 2, 3, 4, 5)]
    assert set(history.evaluations[0].correct["valid"]) == {"shallow", "deep", "product"}
    assert list(history.evaluations[-1].correct["test"]) == ["target", "deep", "product"]
    assert set(history.evaluations[-1].losses) == {"loss", "poe", "distillation"}


def test_a_subset_is_evaluated_as_often_as_all_images(digits: BiasedDataset) -> None:
    few = (digits.train.target == 0).nonzero()[:, 0][4:]  # of class 0, four images stay
    kept = [position for position in range(len(digits.train)) if position not in set(few.tolist())]
    data = replace(digits, train=digits.train.select(torch.tensor(kept)))
    epochs = len(kept) // 40  # those of a subset of 10 x 4 images that see as many images as there are
    assert epochs > 5
    history = trainer("suby", data, {"epochs": 2 * epochs + 3}).fit().history
    assert [point.epoch for point in history.evaluations] == [epochs, 2 * epochs, 2 * epochs + 3]


def test_a_budget_in_steps_ends_with_an_evaluation(digits: BiasedDataset) -> None:
    history = trainer("erm", digits, {"num_steps": 25, "epochs": None}).fit().history
    assert [point.phase_step for point in history.evaluations] == [19, 25]  # 1,200 images: 18.75 batches of 64


def test_drop_last(digits: BiasedDataset) -> None:
    phase = trainer("erm", digits, {"drop_last": True}).phases[0]
    batches = Batches(digits, phase, seed=1, with_bias=False)
    sizes = {len(batch.target) for batch in batches.from_step(0)}
    assert (batches.steps_per_epoch, sizes) == (18, {64})


def test_a_batch_larger_than_the_data(digits: BiasedDataset) -> None:
    phase = replace(trainer("erm", digits, {}).phases[0], batch_size=5000, drop_last=True)
    batches = Batches(digits, phase, seed=1, with_bias=False)
    assert (batches.steps_per_epoch, batches.batch_size) == (1, len(digits.train))


def test_each_epoch_sees_every_image_once_in_a_new_order(digits: BiasedDataset) -> None:
    phase = trainer("erm", digits, {}).phases[0]
    batches = Batches(digits, phase, seed=1, with_bias=False)
    index = torch.cat([batch.index for batch in batches.from_step(0)]).view(2, -1)
    for epoch in index:
        assert epoch.sort().values.equal(torch.arange(len(digits.train)))
    assert not index[0].equal(index[1])


def test_batches_do_not_depend_on_where_they_start(digits: BiasedDataset) -> None:
    phase = trainer("erm", digits, {}).phases[0]
    batches = Batches(digits, phase, seed=1, with_bias=False)
    whole = [batch.index for batch in batches.from_step(0)]
    tail = [batch.index for batch in batches.from_step(25)]
    assert all(a.equal(b) for a, b in zip(whole[25:], tail, strict=True))


def test_bias_labels_reach_only_a_method_that_declares_it(digits: BiasedDataset) -> None:
    phase = trainer("erm", digits, {}).phases[0]
    blind, seeing = (next(Batches(digits, phase, 1, with_bias).from_step(0)) for with_bias in (False, True))
    assert blind.bias is None
    assert seeing.bias is not None
    assert seeing.bias.equal(digits.train.bias[seeing.index])


def test_the_seed_decides(digits: BiasedDataset) -> None:
    def final(seed: int) -> Tensor:
        training = trainer("erm", digits, {"epochs": 1}, seed=seed)
        training.options = replace(training.options, seed=seed)
        training.fit()
        return torch.cat([parameter.flatten() for parameter in training.method.parameters()])

    assert final(1).equal(final(1))
    assert not final(1).equal(final(2))


def test_selected_weights_are_those_of_the_chosen_evaluation(digits: BiasedDataset) -> None:
    training = trainer("erm", digits, {"epochs": 6, "learning_rate": 0.3}, selection="best_valid_unbiased")
    states: list[dict[str, Tensor]] = []

    class Keeping(Silent):
        def evaluated(self, history: History, evaluation: Evaluation) -> None:
            states.append({name: tensor.clone() for name, tensor in training.method.state_dict().items()})

    training.observer = Keeping()
    trained = training.fit()
    rule = training.rules[-1]
    chosen = trained.history.evaluations.index(trained.history.choose(trained.history.evaluations, rule))
    assert all(trained.selected[name].equal(tensor) for name, tensor in states[chosen].items())
    values = [trained.history.value(point, rule) for point in trained.history.evaluations]
    assert values[chosen] == max(values)


def test_hand_over_starts_phase_two_from_the_chosen_weights(digits: BiasedDataset) -> None:
    training = trainer("denetdm", digits, {"epochs": 4, "learning_rate": 0.1, "distill_epochs": 1})
    method = training.method
    states: list[Tensor] = []

    class Keeping(Silent):
        def evaluated(self, history: History, evaluation: Evaluation) -> None:
            if evaluation.phase == "separate":
                states.append(first_weight(method).clone())

    training.observer = Keeping()
    history = training.fit().history
    points = history.of_phase("separate")
    conflicting = [history.counts(point, "valid").metrics()["conflicting"] for point in points]
    chosen = conflicting.index(max(conflicting))
    assert first_weight(method).equal(states[chosen])
    assert isinstance(method, DeNetDM)
    deep, copy = method.deep.state_dict(), method.target_deep.state_dict()
    assert all(deep[name].equal(copy[name]) for name in deep)


def first_weight(method: Method) -> Tensor:
    """Of the shallow branch."""
    assert isinstance(method, DeNetDM)
    return next(method.shallow.parameters()).detach()


def test_a_rule_that_the_protocol_cannot_serve(digits: BiasedDataset) -> None:
    with pytest.raises(UserError, match=r"selection=best_valid_unbiased needs validation images"):
        trainer("erm", replace(digits, valid=None), {}, selection="best_valid_unbiased")
    with pytest.raises(UserError, match=r"the rule of separate=best_valid_conflicting needs validation images"):
        trainer("denetdm", replace(digits, valid=None), {})


def test_a_loss_that_is_not_finite_stops_the_run(digits: BiasedDataset) -> None:
    training = trainer("erm", digits, {"learning_rate": 1e30, "optimizer": "sgd"})
    with pytest.raises(TrainingDiverged, match=r"loss is (nan|inf) in phase train at or before step 19"):
        training.fit()


def test_learning_rates_follow_the_schedule(digits: BiasedDataset) -> None:
    training = trainer("erm", digits, {"num_steps": 3, "epochs": None})
    method = training.method
    assert isinstance(method, ERM)
    rates = []

    def update(batch: Batch) -> dict[str, Tensor]:
        rates.append(method.optimizer.param_groups[0]["lr"])
        return Descent(method.losses, [method.optimizer])(batch)

    def halved(step: int, steps_per_epoch: int) -> float:
        return 0.5**step

    phase: Phase = replace(training.phases[0], update=update, learning_rate_factor=halved)
    training.phases = [phase]
    training.fit()
    assert rates == [1e-3, 5e-4, 2.5e-4]


def test_saving_the_state_takes_a_fiftieth_of_the_time(
    digits: BiasedDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a state takes 1 s to write and a step 0.07 s, at the first evaluation after each 50 s."""
    clock = 0.0
    saved: list[float] = []

    def write(path: Path, tensors: Any, facts: Any) -> None:
        nonlocal clock
        clock += 1
        saved.append(clock)

    class Slow(Silent):
        def progress(self, phase: str, step: int, num_steps: int) -> None:
            nonlocal clock
            clock += 0.07

    monkeypatch.setattr(loop, "write_checkpoint", write)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock))
    training = trainer(
        "erm", digits, {"batch_size": 300, "epochs": 400}, checkpoint=tmp_path / "x", checkpoint_seconds=10.0
    )
    training.observer = Slow()
    training.fit()
    assert saved == pytest.approx([1, 52.12, 103.24])  # of 115 s
    saved.clear()
    trainer("erm", digits, {"epochs": 3}, checkpoint=tmp_path / "x", checkpoint_seconds=0.0).fit()
    assert len(saved) == 4
