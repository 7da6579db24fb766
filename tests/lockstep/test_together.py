"""Runs trained as one: the numbers of each are those of the run alone, as far as rounding lets them be."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from debiaslab.core.errors import TrainingDiverged, UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.lockstep.batches import PlannedBatch, Step, make_stacked, plan_batches
from debiaslab.lockstep.graphs import WARM_UP, replay_phases
from debiaslab.lockstep.stacking import JoinedOptimizer, Stack, StackedDescent
from debiaslab.lockstep.together import fit_together
from debiaslab.methods import METHODS, Batch, Method, Phase
from debiaslab.methods.phase import Descent, set_modes
from debiaslab.settings.setup import Setup
from debiaslab.training.batches import Batches
from debiaslab.training.checkpoint import optimizer_tensors
from debiaslab.training.loop import Options, Trained, Trainer
from tests.lockstep.test_graphs import StandIn
from tests.methods.building import Watch, build, fitting, short_setup, trained, trainer

STEPS = 50
SEEDS = (1, 2)
HPARAMS: dict[str, Any] = {
    "ensemble_confidence": 0.11,
    "ensemble_votes": 1,
}  # with these a short run keeps samples
OWN_UPDATES = (
    "afr",
    "dfr",
    "disent",
    "disent_be",
    "vanilla_biased",
    "rebias",
    "rubi",
    "learned_mixin",
    "lc",
    "selecmix",
    "lff_selecmix",
)  # in their main phase


def setups(name: str, data_root: Path, seeds: Sequence[int] = SEEDS) -> list[Setup]:
    hparams: dict[str, Any] = HPARAMS if name.endswith("_be") else {}
    return [short_setup(name, data_root, seed, num_steps=STEPS, **hparams) for seed in seeds]


def largest_difference(ours: Method, theirs: Method) -> float:
    """The largest over all tensors of |difference| / |tensor|."""
    states = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    pairs = [(mine, other) for mine, other in states if mine.is_floating_point()]
    return max(float((mine - other).norm() / (other.norm() + 1e-12)) for mine, other in pairs)


# ---- the update


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name.endswith("_be") else []) for name in sorted(METHODS)]
)
def test_fifty_steps_as_one_are_those_of_each_alone(name: str, digits: BiasedDataset, data_root: Path) -> None:
    """Every phase with the usual update, in float64: there rounding does not grow to anything in so many steps."""
    digits = fitting(name, digits)
    together, alone = ([build(setup, digits).double() for setup in setups(name, data_root)] for _ in range(2))
    stackable = []
    for number, first in enumerate(together[0].phases()):
        if not isinstance(first.update, Descent):
            continue
        stackable.append(first.name)
        stacked, single = ([ready(method, number, digits) for method in methods] for methods in (together, alone))
        streams = [batches(digits, phase, seed) for phase, seed in zip(stacked, SEEDS, strict=True)]
        stack: Stack | None = None
        for _ in range(STEPS):
            steps = [Step(*asks) for asks in zip(together, stacked, map(next, streams), strict=True)]
            stack = stack or Stack(steps)
            for step, phase, found in zip(steps, single, stack.update(steps), strict=True):
                expected = phase.update(step.batch.make())
                assert not any(value.requires_grad for value in found.values())
                torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert bool(stackable and stackable[-1] == together[0].phases()[-1].name) == (name not in OWN_UPDATES)
    for ours, theirs in zip(together, alone, strict=True):
        assert largest_difference(ours, theirs) < 1e-5


@pytest.mark.parametrize("name", ["denetdm", "end", "erm", "lff"])
def test_a_step_of_three_runs_takes_about_as_many_kernels_as_that_of_one(
    name: str, digits: BiasedDataset, data_root: Path
) -> None:
    """Counted on the CPU, where each operation is a kernel on a GPU. Mapping alone would double their number."""
    methods = [build(setup, digits) for setup in setups(name, data_root, (1, 2, 3))]
    for number, first in enumerate(methods[0].phases()):
        phases = [method.phases()[number] for method in methods]
        streams = [plan_batches(Batches(digits, phase, 1, methods[0].needs_bias), 0) for phase in phases]
        steps = [Step(*asks) for asks in zip(methods, phases, map(next, streams), strict=True)]
        batch, batches = steps[0].batch.make(), make_stacked([step.batch for step in steps])
        for phase in phases:
            phase.update(batch)  # makes the states of its optimisers
        with Kernels() as alone:
            first.update(batch)
        descend = StackedDescent(steps)
        with Kernels() as together:
            descend(batches)
        assert together.count <= 1.15 * alone.count


class Kernels(TorchDispatchMode):
    """Counts the operations that compute something."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view and "empty" not in function.name() and "record_function" not in function.name():
            self.count += 1
        return result


def ready(method: Method, number: int, data: BiasedDataset) -> Phase:
    """Phase `number` of the method, ready for its first step."""
    phase = method.phases()[number]
    set_modes(method, phase)
    phase.prepare(DoubleBatches(data, phase, 1, method.needs_bias).in_order())
    return phase


def batches(data: BiasedDataset, phase: Phase, seed: int) -> Iterator[PlannedBatch]:
    return plan_batches(DoubleBatches(data, replace(phase, num_steps=STEPS), seed, with_bias=True), 0)


class DoubleBatches(Batches):
    """In float64."""

    def make(self, *what: Any) -> Batch:
        batch = super().make(*what)
        return replace(batch, image=batch.image.double())


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_make_as_one_are_those_of_each(digits: BiasedDataset, data_root: Path, workers: int) -> None:
    """With random changes of the images, which threads make ahead, or nobody."""
    data = replace(digits, augment=CropAndFlip(padding=2), normalize=((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    phase = build(short_setup("end", data_root), data).phases()[0]
    streams = [plan_batches(Batches(data, phase, seed, True, workers), 0) for seed in SEEDS]
    expected = [Batches(data, phase, seed, True).from_step(0) for seed in SEEDS]
    for _ in range(3):
        ours, theirs = make_stacked([next(stream) for stream in streams]), [next(stream) for stream in expected]
        assert ours.step == theirs[0].step
        for name in ("image", "target", "index", "bias"):
            assert torch.equal(getattr(ours, name), torch.stack([getattr(batch, name) for batch in theirs])), name


def test_batches_of_other_data_are_made_apart(digits: BiasedDataset, data_root: Path) -> None:
    phase = build(short_setup("erm", data_root), digits).phases()[0]
    darker = replace(digits.train, images=digits.train.all_images() // 2)
    other = replace(digits, train=darker, fingerprint="darker")
    planned = [next(plan_batches(Batches(data, phase, 1, False), 0)) for data in (digits, other)]
    assert torch.equal(make_stacked(planned).image, torch.stack([batch.make().image for batch in planned]))


# ---- whole runs


@pytest.mark.parametrize("name", ["erm", "lff", "disent"])
def test_whole_runs(name: str, digits: BiasedDataset, data_root: Path) -> None:
    """Phases whose updates cannot be stacked are trained in turns, bit by bit as alone."""
    methods = [build(setup, digits) for setup in setups(name, data_root)]
    runs = zip(setups(name, data_root), methods, strict=True)
    outcomes = fit_together([trainer(setup, method, digits, Watch()) for setup, method in runs])
    for setup, method, outcome in zip(setups(name, data_root), methods, outcomes, strict=True):
        expected_method, expected = trained(setup, digits)
        assert isinstance(outcome, Trained)
        assert largest_difference(method, expected_method) <= (0.0 if name == "disent" else 1e-5)
        assert outcome.history.total == expected.history.total
        for ours, theirs in zip(outcome.history.evaluations, expected.history.evaluations, strict=True):
            assert ours.losses == pytest.approx(theirs.losses, rel=1e-5)
            assert (ours.phase, ours.step, ours.correct.keys()) == (theirs.phase, theirs.step, theirs.correct.keys())


@pytest.mark.parametrize("name", ["denetdm", "lff"])
def test_replayed_steps_are_replayed_as_one(
    name: str, digits: BiasedDataset, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the capture; bit by bit what they are as one without it."""
    stand_ins: list[StandIn] = []
    capturable: list[bool] = []  # while the optimiser of the first runs as one takes its steps
    take_step = JoinedOptimizer.step

    def step(optimizer: JoinedOptimizer) -> None:
        take_step(optimizer)
        assert optimizer.optimizer is not None
        capturable.append(optimizer.optimizer.param_groups[0]["capturable"])

    monkeypatch.setattr(JoinedOptimizer, "step", step)

    def together(replays: bool) -> tuple[list[Method], list[Any]]:
        methods = [build(setup, digits) for setup in setups(name, data_root)]
        runs = zip(setups(name, data_root), methods, strict=True)
        trainers = [trainer(setup, method, digits, Watch()) for setup, method in runs]

        def capturer(device: torch.device) -> StandIn:
            stand_ins.append(StandIn(*methods))
            return stand_ins[-1]

        for run in trainers if replays else []:
            run.phases = replay_phases(run.phases, capturer)
        return methods, fit_together(trainers)

    (ours, our_outcomes), (theirs, their_outcomes) = together(True), together(False)
    for method, other in zip(ours, theirs, strict=True):
        assert largest_difference(method, other) == 0
    assert [outcome.history for outcome in our_outcomes] == [outcome.history for outcome in their_outcomes]
    assert len(stand_ins) == len(ours[0].phases())  # one for all runs
    optimizers = len(ours[0].phases()[0].optimizers)
    first, captured = WARM_UP * optimizers, (WARM_UP + 1) * optimizers
    assert capturable[first:captured] == [True] * optimizers
    assert capturable.count(True) == optimizers * len(stand_ins)
    smaller = 0 if name == "denetdm" else STEPS // 19  # last batches of epochs, which are done as they are
    for stand_in in stand_ins:
        assert stand_in.done.count("capture") == 1
        assert stand_in.done.count("replay") == STEPS - WARM_UP - smaller


@pytest.mark.parametrize("name", ["denetdm", "lff"])
def test_on_a_gpu_graphs_of_stacked_steps_give_the_same_weights(
    name: str, digits: BiasedDataset, data_root: Path, gpu: torch.device
) -> None:
    data = digits.to(gpu)

    def together(cuda_graphs: bool) -> list[Method]:
        methods, trainers = [], []
        for setup in setups(name, data_root):
            methods.append(setup.build_method(data, gpu))
            trainers.append(Trainer(methods[-1], data, Options(seed=setup.run.seed, selection="last"), Watch()))
            if cuda_graphs:
                trainers[-1].phases = replay_phases(trainers[-1].phases)
        assert all(isinstance(outcome, Trained) for outcome in fit_together(trainers))
        return methods

    for method, other in zip(together(True), together(False), strict=True):
        assert largest_difference(method, other) == 0


def test_runs_that_are_there_at_the_same_time_share_their_data(data_root: Path) -> None:
    first, second = setups("erm", data_root, (1, 2))
    cpu = torch.device("cpu")
    data = first.place(first.load_data(), cpu)
    assert second.place(second.load_data(), cpu) is data
    fewer = replace(second, run=replace(second.run, evaluate_images=7))
    assert len(fewer.place(fewer.load_data(), cpu).test) == 7
    whole = first.load_data()
    for other in (replace(whole, notes=("2 files left out",)), replace(whole, fingerprint="others")):
        found = first.place(other, cpu)  # what is in the folder has changed, and somebody still has what there was
        assert (found.notes, found.fingerprint) == (other.notes, other.fingerprint)
    there = weakref.ref(data)
    del data
    assert there() is None  # nobody has them any more


def test_one_that_diverges_does_not_stop_the_others(digits: BiasedDataset, data_root: Path) -> None:
    wild = short_setup("erm", data_root, 2, learning_rate=1e30, optimizer="sgd")
    tame = setups("erm", data_root, (1, 3))
    runs = [(tame[0], build(tame[0], digits)), (wild, build(wild, digits)), (tame[1], build(tame[1], digits))]
    outcomes = fit_together([trainer(setup, method, digits, Watch()) for setup, method in runs])
    assert isinstance(outcomes[1], TrainingDiverged)
    for place in (0, 2):
        assert isinstance(outcomes[place], Trained)
        assert largest_difference(runs[place][1], trained(runs[place][0], digits)[0]) < 1e-5


@pytest.mark.parametrize("name", ["erm", "lff", "denetdm"])
def test_one_that_leaves_a_stack_in_the_middle_leaves_the_others_as_they_are(
    name: str, digits: BiasedDataset, data_root: Path
) -> None:
    """What is not a number in one run of a stack is nowhere in the others."""

    class Spoilt(Watch):
        def __init__(self, method: Method) -> None:
            super().__init__()
            self.method = method

        def progress(self, phase: str, step: int, num_steps: int) -> None:
            super().progress(phase, step, num_steps)
            if self.updates == STEPS // 2:
                next(self.method.parameters()).data.fill_(torch.nan)

    those = setups(name, data_root, (1, 2, 3))
    methods = [build(setup, digits) for setup in those]
    watches = [Watch(), Spoilt(methods[1]), Watch()]
    runs = zip(those, methods, watches, strict=True)
    outcomes = fit_together([trainer(setup, method, digits, watch) for setup, method, watch in runs])
    assert isinstance(outcomes[1], TrainingDiverged)
    for place in (0, 2):
        assert isinstance(outcomes[place], Trained)
        assert largest_difference(methods[place], trained(those[place], digits)[0]) < 1e-5


def test_images_that_cannot_be_read_stop_those_that_need_them(
    digits: BiasedDataset, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leave no stack behind, whatever keeps their errors."""
    stacks, batches_made = [], iter(range(STEPS))

    def unreadable(planned: Sequence[PlannedBatch]) -> Batch:
        if next(batches_made) == 7:
            raise UserError("no image")
        return make_stacked(planned)

    def remembered(steps: Sequence[Step]) -> Stack:
        stack = Stack(steps)
        stacks.append(weakref.ref(stack))
        return stack

    monkeypatch.setattr("debiaslab.lockstep.stacking.make_stacked", unreadable)
    monkeypatch.setattr("debiaslab.lockstep.together.Stack", remembered)
    alike = setups("erm", data_root)
    other = short_setup("erm", data_root, 3, num_steps=STEPS, batch_size=32)  # which is in no stack
    outcomes = fit_together([trainer(setup, build(setup, digits), digits, Watch()) for setup in (*alike, other)])
    assert [str(outcome) for outcome in outcomes[:2]] == ["no image"] * 2
    assert isinstance(outcomes[2], Trained)
    assert [stack() for stack in stacks] == [None]


def test_an_interrupted_run_goes_on_alone_or_with_others(
    digits: BiasedDataset, data_root: Path, tmp_path: Path
) -> None:
    """Both from the states that they have saved, of which one is further than the other."""
    those = setups("lff", data_root, (1, 2))
    watches = [Watch(), Watch(interrupt_at=35)]
    files = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    runs = list(zip(those, watches, files, strict=True))
    with pytest.raises(KeyboardInterrupt):
        fit_together([trainer(setup, build(setup, digits), digits, watch, file) for setup, watch, file in runs])
    assert watches[0].updates == watches[1].updates == 35

    for seeds in ((0,), (0, 1)):
        methods, trainers = [], []
        for place in seeds:
            methods.append(build(those[place], digits))
            trainers.append(trainer(those[place], methods[-1], digits, Watch()))
            trainers[-1].restore(files[place])
        outcomes = fit_together(trainers)
        for place, method, outcome in zip(seeds, methods, outcomes, strict=True):
            expected_method, expected = trained(those[place], digits)
            assert isinstance(outcome, Trained)
            assert len(outcome.history.evaluations) == len(expected.history.evaluations)
            assert largest_difference(method, expected_method) < 1e-5


def test_runs_at_different_steps_are_not_stacked(digits: BiasedDataset, data_root: Path, tmp_path: Path) -> None:
    """A run that goes on beside one that begins takes its steps alone, and so bit by bit those of a run alone."""
    first, second = setups("erm", data_root, (1, 2))
    file = tmp_path / "1.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trainer(first, build(first, digits), digits, Watch(interrupt_at=30), file).fit()
    methods = [build(first, digits), build(second, digits)]
    trainers = [trainer(setup, method, digits, Watch()) for setup, method in zip((first, second), methods, strict=True)]
    trainers[0].restore(file)
    fit_together(trainers)
    for setup, method in zip((first, second), methods, strict=True):
        assert largest_difference(method, trained(setup, digits)[0]) == 0


@pytest.mark.parametrize(
    ("name", "numerics"), [("denetdm", {"precision": "bf16"}), ("learned_mixin", {"channels_last": True})]
)
def test_runs_that_cannot_be_mapped_over_are_those_alone(
    name: str, numerics: dict[str, Any], digits: BiasedDataset, data_root: Path
) -> None:
    data = replace(digits.limit(30), train=digits.train.select(torch.arange(100)))
    short = [short_setup(name, data_root, seed, num_steps=6, batch_size=40) for seed in (1, 2)]
    chosen = [replace(setup, run=replace(setup.run, **numerics)) for setup in short]
    methods = [build(setup, data) for setup in chosen]
    trainers = [trainer(setup, method, data, Watch()) for setup, method in zip(chosen, methods, strict=True)]
    for setup, method, outcome in zip(chosen, methods, fit_together(trainers), strict=True):
        alone, expected = trained(setup, data)
        assert isinstance(outcome, Trained)
        assert outcome.history == expected.history
        assert largest_difference(method, alone) == 0


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "adamp"])
def test_runs_that_part_count_their_own_steps(optimizer: str, digits: BiasedDataset, data_root: Path) -> None:
    """As one for some steps, then each alone, in turn: what is common in a stack is not in the end."""
    short = [short_setup("erm", data_root, seed, optimizer=optimizer) for seed in SEEDS]
    together, alone = ([build(setup, digits).double() for setup in short] for _ in range(2))
    stacked, single = ([ready(method, 0, digits) for method in methods] for methods in (together, alone))
    streams = [batches(digits, phase, seed) for phase, seed in zip(stacked, SEEDS, strict=True)]
    stack: Stack | None = None
    for number in range(20):
        steps = [Step(*asks) for asks in zip(together, stacked, map(next, streams), strict=True)]
        for step, phase in zip(steps, single, strict=True):
            phase.update(step.batch.make())
        if number < 10:
            stack = stack or Stack(steps)
            stack.update(steps)
            continue
        if number == 10 and stack is not None:
            stack.part()
        for step in steps:
            step.phase.update(step.batch.make())
    for ours, theirs in zip(together, alone, strict=True):
        assert largest_difference(ours, theirs) < 1e-9
    for phase, expected in zip(stacked, single, strict=True):
        (own,), (other,) = phase.optimizers.values(), expected.optimizers.values()
        found, wanted = optimizer_tensors(own), optimizer_tensors(other)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
