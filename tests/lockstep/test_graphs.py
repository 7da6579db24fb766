"""Captured steps: all but the capture itself, with a stand-in for the GPU; and, where there is one, with it."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.lockstep.graphs import (
    WARM_UP,
    ReplayedDescent,
    Scalars,
    capturable_descent,
    replay_phases,
    replay_steps,
    require_capturable,
)
from debiaslab.methods import METHODS, Method
from debiaslab.models import architecture
from debiaslab.settings.setup import Setup
from debiaslab.training.loop import Options, Trained, Trainer
from tests.conftest import Command
from tests.methods.building import NUM_STEPS, Watch, build, first_batches, fitting, short_setup, trainer

STEPS_PER_EPOCH = 19  # of the digits, in batches of 64; the last one is smaller


class StandIn:
    """Captures as a GPU does: meanwhile nothing is done; a replay does the step, on the tensors of then."""

    def __init__(self, *methods: Method) -> None:
        self.methods = methods
        self.done: list[str] = []

    def run(self, step: Callable[[], Scalars]) -> Scalars:
        self.done.append("run")
        return step()

    def capture(self, step: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
        self.done.append("capture")
        state = self.state()
        before = [tensor.clone() for tensor in state]
        scalars = {name: torch.full_like(value, torch.nan) for name, value in step().items()}
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
        assert len(self.state()) == len(state), (
            "the step made a state of an optimiser, which a captured step cannot keep"
        )

        def replay() -> None:
            self.done.append("replay")
            for name, value in step().items():
                scalars[name].copy_(value)

        return scalars, replay

    def state(self) -> list[Tensor]:
        """All that a step changes."""
        phases = [phase for method in self.methods for phase in method.phases()]
        optimizers = [optimizer for phase in phases for optimizer in phase.optimizers.values()]
        states = [values for optimizer in optimizers for values in optimizer.state.values()]
        kept = [tensor for values in states for tensor in values.values()]
        own = [tensor for method in self.methods for tensor in (*method.parameters(), *method.buffers())]
        return [*own, *kept]


def trained(setup: Setup, data: BiasedDataset, stand_ins: list[StandIn] | None = None) -> tuple[Method, Trained]:
    """A short run; with `stand_ins`, which it fills, one for each phase that is captured, the steps are replayed.

    No captured step is kept to the end.
    """
    method = build(setup, data)
    run = trainer(setup, method, data, Watch())
    if stand_ins is None:
        return method, run.fit()

    def new_capturer(device: torch.device) -> StandIn:
        stand_ins.append(StandIn(method))
        return stand_ins[-1]

    with replay_steps(run, new_capturer):
        updates = [phase.update for phase in run.phases]
        outcome = run.fit()
        kept = [update.captured is not None for update in updates if isinstance(update, ReplayedDescent)]
        assert not any(kept[:-1])  # those of the phases before the last are freed at their ends
    assert all(update.captured is None for update in updates if isinstance(update, ReplayedDescent))
    assert not any(isinstance(phase.update, ReplayedDescent) for phase in run.phases)
    return method, outcome


def assert_equal(ours: tuple[Method, Trained], theirs: tuple[Method, Trained]) -> None:
    assert ours[1].history == theirs[1].history
    ours_state, their_state = ours[0].state_dict(), theirs[0].state_dict()
    assert [name for name, tensor in ours_state.items() if not torch.equal(tensor, their_state[name])] == []


def test_the_length_of_an_epoch(data_root: Path, digits: BiasedDataset) -> None:
    """What the tests below count on."""
    sizes = [len(batch.target) for batch in first_batches(build(short_setup("erm", data_root), digits), digits, 20)]
    assert sizes[: STEPS_PER_EPOCH - 1] == [64] * (STEPS_PER_EPOCH - 1)
    assert sizes[STEPS_PER_EPOCH - 1] < 64
    assert sizes[STEPS_PER_EPOCH] == 64


@pytest.mark.parametrize(
    ("method", "hparams"),
    [
        ("erm", {}),
        ("erm", {"optimizer": "sgd"}),
        ("lff", {"drop_last": False, "optimizer": "adamw"}),
        ("end", {"lr_schedule": "step", "lr_decay_epochs": 1}),
        ("denetdm", {}),
        ("lff_be", {"ensemble_confidence": 0.11, "ensemble_votes": 1}),
        ("learned_mixin", {}),
    ],
)
def test_replayed_training_is_the_same(
    data_root: Path, digits: BiasedDataset, method: str, hparams: dict[str, Any]
) -> None:
    setup, stand_ins = short_setup(method, data_root, **hparams), list[StandIn]()
    assert_equal(trained(setup, digits, stand_ins), trained(setup, digits))
    assert stand_ins
    assert all("replay" in stand_in.done for stand_in in stand_ins)


def test_which_steps_are_replayed(data_root: Path, digits: BiasedDataset) -> None:
    stand_ins: list[StandIn] = []
    trained(short_setup("erm", data_root), digits, stand_ins)
    (stand_in,) = stand_ins
    first = ["run"] * WARM_UP + ["capture"] + ["replay"] * (STEPS_PER_EPOCH - 1 - WARM_UP) + ["run"]
    other = ["replay"] * (STEPS_PER_EPOCH - 1) + ["run"]
    assert stand_in.done == (first + 2 * other)[: NUM_STEPS + 1]


def test_a_new_learning_rate_is_captured_anew(data_root: Path, digits: BiasedDataset) -> None:
    stand_ins: list[StandIn] = []
    trained(short_setup("erm", data_root, lr_schedule="step", lr_decay_epochs=1), digits, stand_ins)
    assert stand_ins[0].done.count("capture") == 3  # epochs
    assert len(stand_ins[0].done) == NUM_STEPS + 3


def test_parameters_that_have_moved_are_captured_anew(data_root: Path, digits: BiasedDataset) -> None:
    """As those do that are trained with others from then on, or alone again."""
    methods = [build(short_setup("erm", data_root), digits) for _ in range(2)]
    stand_in = StandIn(methods[0])
    (replayed_phase,), (phase,) = replay_phases(methods[0].phases(), lambda device: stand_in), methods[1].phases()
    for number, batch in enumerate(first_batches(methods[0], digits, WARM_UP + 4)):
        if number == WARM_UP + 2:
            for parameter in methods[0].parameters():
                parameter.data = parameter.detach().clone()
        assert replayed_phase.update(batch) == phase.update(batch)
    assert stand_in.done == ["run"] * WARM_UP + ["capture", "replay", "replay"] * 2


def test_optimisers_are_capturable_only_while_they_are_captured(data_root: Path, digits: BiasedDataset) -> None:
    """Adam refuses to be captured otherwise, and warns in every other step."""
    method = build(short_setup("denetdm", data_root), digits)
    (optimizer,) = method.phases()[0].optimizers.values()
    flags: list[bool] = []

    class Asking(StandIn):
        def capture(self, step: Callable[[], Scalars]) -> tuple[Scalars, Callable[[], None]]:
            flags.extend(group["capturable"] for group in optimizer.param_groups)
            return super().capture(step)

    (phase, _) = replay_phases(method.phases(), lambda device: Asking(method))
    for batch in first_batches(method, digits, WARM_UP + 2):
        phase.update(batch)
        flags.extend(group["capturable"] for group in optimizer.param_groups)
    assert flags == [False] * WARM_UP + [True] + [False] * 2


def test_every_phase_has_a_capture_of_its_own(data_root: Path, digits: BiasedDataset) -> None:
    stand_ins: list[StandIn] = []
    trained(short_setup("denetdm", data_root), digits, stand_ins)
    assert [stand_in.done.count("capture") for stand_in in stand_ins] == [1, 1]


def test_a_run_that_continues_with_a_smaller_batch(data_root: Path, digits: BiasedDataset) -> None:
    method = build(short_setup("erm", data_root), digits)
    batches = first_batches(method, digits, 30)
    smaller = next(batch for batch in batches if len(batch.target) < 64)
    whole = [batch for batch in batches if len(batch.target) == 64]
    stand_in = StandIn(method)
    (phase,) = replay_phases(method.phases(), lambda device: stand_in)
    for batch in (smaller, *whole[: WARM_UP + 2], smaller):
        phase.update(batch)
    assert stand_in.done == ["run", *["run"] * WARM_UP, "capture", "replay", "replay", "run"]


def test_results_and_batches_are_the_callers_own(data_root: Path, digits: BiasedDataset) -> None:
    method = build(short_setup("erm", data_root), digits)
    (phase,) = replay_phases(method.phases(), lambda device: StandIn(method))
    told, kept = [], []
    for batch in first_batches(method, digits, 8):
        before = batch.image.clone()
        told.append(phase.update(batch))
        kept.append({name: value.clone() for name, value in told[-1].items()})
        assert torch.equal(batch.image, before)
    assert told == kept
    assert len({float(scalars["loss"]) for scalars in told}) == 8


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_is_captured_depends_on_no_number_that_python_counts(
    data_root: Path, digits: BiasedDataset, name: str
) -> None:
    data = fitting(name, digits)
    method = build(short_setup(name, data_root), data)
    for number, phase in enumerate(method.phases()):
        descent = capturable_descent(phase)
        if descent is not None:
            (batch,) = first_batches(method, data, 1, number)
            without_step: Any = None
            assert descent.losses(replace(batch, step=without_step))["loss"].isfinite()


def test_what_can_be_captured(data_root: Path, digits: BiasedDataset) -> None:
    def found(name: str, **hparams: Any) -> list[bool]:
        phases = build(short_setup(name, data_root, **hparams), digits).phases()
        return [capturable_descent(phase) is not None for phase in phases]

    assert found("erm") == [True]
    assert found("denetdm") == [True, True]
    assert found("disent") == [False]  # its update counts steps
    assert found("disent_be") == [True] * 5 + [False]
    assert found("learned_mixin") == [True, False]
    assert found("erm", optimizer="adamp") == [False]


@pytest.mark.parametrize(("name", "hparams"), [("disent", {}), ("erm", {"optimizer": "adamp"})])
def test_a_method_that_cannot_be_captured_is_refused(
    data_root: Path, digits: BiasedDataset, name: str, hparams: dict[str, Any]
) -> None:
    setup = short_setup(name, data_root, **hparams)
    method = build(setup, digits)
    setup.check_graphs(method)
    setup = replace(setup, run=replace(setup.run, cuda_graphs=True))
    with pytest.raises(UserError, match="cuda_graphs=True: the device is cpu, without CUDA; set it to False"):
        setup.check_graphs(method)
    with pytest.raises(
        UserError, match=f"cuda_graphs=True: the steps of {name}, with these optimisers, cannot be captured"
    ):
        require_capturable(method, name)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_run_is_replayed_if_it_asks_for_it(command: Command, monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    stand_ins: list[StandIn] = []

    def new_capturer(method: Method, device: torch.device) -> StandIn:
        stand_ins.append(StandIn(method))
        return stand_ins[-1]

    monkeypatch.setattr(Setup, "check_graphs", lambda setup, method: None)  # there is no GPU here
    monkeypatch.setattr(
        "debiaslab.commands.train.replay_steps",
        lambda trainer: replay_steps(trainer, partial(new_capturer, trainer.method)),
    )
    outcome = command("with", "digits", "smoke", "method=erm", f"cuda_graphs={wanted}")
    assert outcome.code == 0
    assert bool(stand_ins) == wanted


# ---- on a GPU


def on_gpu(setup: Setup, data: BiasedDataset, gpu: torch.device, cuda_graphs: bool) -> tuple[Method, Trained]:
    placed = data.to(gpu)
    method = setup.build_method(placed, gpu)
    run = Trainer(method, placed, Options(seed=1, selection="best_valid_unbiased"), Watch())
    with replay_steps(run) if cuda_graphs else nullcontext():
        return method, run.fit()


@pytest.mark.parametrize(
    ("method", "hparams"),
    [
        ("denetdm", {}),
        ("erm", {"optimizer": "sgd"}),
        ("end", {"lr_schedule": "step", "lr_decay_epochs": 1}),
        ("lff", {"drop_last": False, "optimizer": "adamw"}),
        ("lff_be", {"ensemble_confidence": 0.11, "ensemble_votes": 1}),
        ("learned_mixin", {}),
    ],
)
def test_on_a_gpu_graphs_give_the_same_weights(
    data_root: Path, digits: BiasedDataset, gpu: torch.device, method: str, hparams: dict[str, Any]
) -> None:
    setup = short_setup(method, data_root, **hparams)
    assert_equal(on_gpu(setup, digits, gpu, cuda_graphs=True), on_gpu(setup, digits, gpu, cuda_graphs=False))


def test_on_a_gpu_graphs_of_convolutions_in_bf16_give_the_same_weights(
    data_root: Path, digits: BiasedDataset, gpu: torch.device
) -> None:
    setup = short_setup("lff", data_root)
    run = replace(setup.run, precision="bf16", channels_last=True)
    setup = replace(setup, run=run, model=architecture("resnet18", {}))
    assert_equal(on_gpu(setup, digits, gpu, cuda_graphs=True), on_gpu(setup, digits, gpu, cuda_graphs=False))
