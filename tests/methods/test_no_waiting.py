"""No training step makes the host wait for the device (`tests/waiting.py` says how that is seen without one)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.augmentation import CropAndFlip, JitteredCropAndFlip, RandomResizedCropAndFlip
from debiaslab.lockstep import stacking
from debiaslab.lockstep.batches import Step, plan_batches
from debiaslab.lockstep.graphs import descent_of
from debiaslab.lockstep.stacking import Stack
from debiaslab.methods import Batch, Method, Phase
from debiaslab.methods.optimizers import OPTIMIZERS
from debiaslab.methods.phase import set_modes
from debiaslab.settings.setup import Setup
from debiaslab.training.batches import Batches
from debiaslab.training.losses import LossSums
from tests.methods.building import build, first_batches, short_setup
from tests.methods.test_contract import data, name, setup  # noqa: F401 (fixtures: every method)
from tests.waiting import WaitsForDevice, no_waiting

WAITING_OPTIMIZERS = ("adamp",)  # its own code does, and says so in methods/optimizers.py
ON_THE_HOST = (("retrain", "dfr"),)  # phases that compute with scikit-learn
LAST_STEP = 10**6  # beyond all that begins later in a training


def phases_in_training(method: Method) -> Iterator[Phase]:
    """The phases, each with the modules in their modes."""
    for phase in method.phases():
        set_modes(method, phase)
        yield phase


@contextmanager
def steps_left_out(patch: pytest.MonkeyPatch, optimizers: Any) -> Iterator[None]:
    with patch.context() as inner:
        for optimizer in optimizers:
            inner.setattr(optimizer, "step", lambda: None)
        yield


class NoSteps:
    """What a `JoinedOptimizer` is replaced by: one of parameters that have no values takes no steps."""

    def __init__(self, *of_what: Any) -> None: ...

    def step(self) -> None: ...


def moved(batch: Batch, device: str) -> Batch:
    bias = None if batch.bias is None else batch.bias.to(device)
    return replace(
        batch, image=batch.image.to(device), target=batch.target.to(device), index=batch.index.to(device), bias=bias
    )


def test_a_step_reads_nothing_from_the_device(setup: Setup, data: BiasedDataset, name: str) -> None:  # noqa: F811
    method = build(setup, data)
    for number, phase in enumerate(phases_in_training(method)):
        if (phase.name, name) in ON_THE_HOST:
            continue
        sums = LossSums()
        batches = first_batches(method, data, 2, number)
        with no_waiting():
            for batch in [*batches, replace(batches[0], step=LAST_STEP)]:
                sums.add(phase.update(batch))
        assert sums.count == 3
        assert "loss" in sums.means(phase.name, 3)  # waits, once for all steps


def test_a_step_copies_nothing_from_the_host(
    setup: Setup,  # noqa: F811
    data: BiasedDataset,  # noqa: F811
    name: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a device that has no values; fused optimisers do not know it, and are left out."""
    method = build(setup, data)
    batches = [first_batches(method, data, 1, number)[0] for number in range(len(method.phases()))]
    method.to("meta")
    for phase, batch in zip(phases_in_training(method), batches, strict=True):
        if (phase.name, name) in ON_THE_HOST:
            continue
        on_device = moved(batch, "meta")
        with steps_left_out(monkeypatch, phase.optimizers.values()), no_waiting():
            for step in (0, LAST_STEP):
                assert phase.update(replace(on_device, step=step))["loss"].device.type == "meta"


def test_nor_does_a_step_of_several_runs_as_one(
    setup: Setup,  # noqa: F811
    data: BiasedDataset,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the CPU and on a device that has no values, as above."""
    methods = [build(setup, data) for _ in range(2)]
    if not any(map(descent_of, methods[0].phases())):
        pytest.skip("no update of this method can be stacked")
    for device in ("cpu", "meta"):
        placed = data.to(torch.device(device))
        if device == "meta":
            monkeypatch.setattr(stacking, "JoinedOptimizer", NoSteps)
        for phases in zip(*(phases_in_training(method.to(device)) for method in methods), strict=True):
            if descent_of(phases[0]) is None:
                continue
            each_once = [replace(phase, positions=None, sampling_weights=None) for phase in phases]  # those are read
            streams = [plan_batches(Batches(placed, phase, 1, True), 0) for phase in each_once]
            steps = [[Step(*asks) for asks in zip(methods, phases, map(next, streams), strict=True)] for _ in range(2)]
            stack = Stack(steps[0])
            with no_waiting():
                found = [stack.update(step) for step in steps]
            assert {scalars["loss"].device.type for both in found for scalars in both} == {device}


@pytest.mark.parametrize("hparams", [{"sigma": "median"}, {"features": "pre", "hsic": "biased"}])
def test_nor_does_rebias_with_other_settings(data_root: Path, digits: BiasedDataset, hparams: dict[str, Any]) -> None:
    method = build(short_setup("rebias", data_root, **hparams), digits)
    batch = first_batches(method, digits, 1)[0]
    (phase,) = phases_in_training(method)
    with no_waiting():
        scalars = phase.update(batch)
    assert "hsic" in scalars


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_only_adamp_waits_for_the_device(data_root: Path, digits: BiasedDataset, optimizer: str) -> None:
    method = build(short_setup("erm", data_root, optimizer=optimizer), digits)
    batch = first_batches(method, digits, 1)[0]
    (phase,) = phases_in_training(method)

    def update() -> None:
        with no_waiting():
            phase.update(batch)
            phase.update(batch)

    if optimizer in WAITING_OPTIMIZERS:
        with pytest.raises(WaitsForDevice):
            update()
    else:
        update()


def test_with_adamp_nothing_but_its_own_step_waits(
    data_root: Path, digits: BiasedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(short_setup("rebias", data_root, optimizer="adamp"), digits)
    batch = first_batches(method, digits, 1)[0]
    (phase,) = phases_in_training(method)
    with steps_left_out(monkeypatch, phase.optimizers.values()), no_waiting():
        scalars = phase.update(batch)
    assert "hsic" in scalars


def test_a_step_on_a_gpu_does_not_wait(setup: Setup, data: BiasedDataset, gpu: torch.device) -> None:  # noqa: F811
    """By CUDA's own word, for what it knows to wait. The first step makes what is made once."""
    placed = data.to(gpu)
    method = setup.build_method(placed, gpu)
    for phase in phases_in_training(method):
        batches = Batches(placed, phase, 1, method.needs_bias).from_step(0)
        sums = LossSums()
        sums.add(phase.update(next(batches)))
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in (1, LAST_STEP):
                sums.add(phase.update(replace(next(batches), step=step)))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert sums.count == 3


# ---- batches, as they are made on a device

AUGMENTATIONS: dict[str, Callable[[int], Any]] = {
    "none": lambda size: None,
    "crop": lambda size: CropAndFlip(padding=2),
    "flip": lambda size: CropAndFlip(padding=0),
    "resized crop": lambda size: RandomResizedCropAndFlip(8, torch.full((size, 2), 10)),
    "jitter": lambda size: JitteredCropAndFlip(torch.full((size, 2), 10), crop=7, shortest=8, longest=10),
}


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_making_a_batch_copies_nothing_from_the_host(
    data_root: Path, digits: BiasedDataset, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But at the beginning of an epoch, whose order and random numbers are drawn on the host."""
    augmented = replace(
        digits,
        augment=AUGMENTATIONS[kind](len(digits.train)),
        normalize=((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    )
    placed = augmented.to(torch.device("meta"))
    phase = build(short_setup("end", data_root), digits).phases()[0]
    batches = Batches(placed, phase, seed=1, with_bias=True).from_step(0)
    next(batches)
    with no_waiting():
        batch = next(batches)
    assert batch.image.device.type == batch.target.device.type == "meta"
    assert batch.image.dtype == torch.float32


# ---- the detector

MASK = torch.tensor([True, False])
VALUES = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    "work",
    [
        lambda: VALUES[0].item(),
        lambda: bool(MASK[0]),
        lambda: float(VALUES.sum()),
        lambda: VALUES[MASK],
        lambda: VALUES.clone().index_put_((MASK,), torch.tensor(0.0)),
        lambda: MASK.nonzero(),
        lambda: torch.where(MASK),
        lambda: VALUES.masked_select(MASK),
        lambda: torch._unique2(VALUES),
        lambda: torch.equal(VALUES, VALUES),
        lambda: VALUES.allclose(VALUES),
        lambda: VALUES.repeat_interleave(torch.tensor([1, 2])),
        lambda: torch.bincount(torch.tensor([1, 2])),
        lambda: torch.nn.functional.one_hot(torch.tensor([0, 1])),
        lambda: VALUES.to("meta"),
        lambda: torch.empty(2, device="meta").copy_(VALUES),
    ],
)
def test_the_detector_refuses_what_waits(work: Callable[[], object]) -> None:
    with pytest.raises(WaitsForDevice), no_waiting():
        work()


@pytest.mark.parametrize("work", [lambda: VALUES.to("meta").tolist(), lambda: VALUES.to("meta").numpy()])
def test_values_that_are_read_without_an_operation_fail_on_the_device(work: Callable[[], object]) -> None:
    with pytest.raises((NotImplementedError, TypeError, RuntimeError)):
        work()


@pytest.mark.parametrize(
    "work",
    [
        lambda: VALUES[torch.tensor([1, 0])],
        lambda: VALUES.where(MASK, 0),
        lambda: torch.where(VALUES > 1, 1 - VALUES, 0.0),
        lambda: VALUES.repeat_interleave(torch.tensor([1, 2]), output_size=3),
        lambda: VALUES.to("meta", non_blocking=True),
        lambda: VALUES.to(torch.float64),
    ],
)
def test_the_detector_lets_pass_what_does_not_wait(work: Callable[[], Tensor]) -> None:
    expected = work()
    with no_waiting():
        result = work()
    assert (result.shape, result.dtype, result.device) == (expected.shape, expected.dtype, expected.device)


def test_a_method_that_looks_at_its_loss_is_found(data_root: Path, digits: BiasedDataset) -> None:
    method = build(short_setup("erm", data_root), digits)
    (phase,) = phases_in_training(method)

    def curious(batch: Batch) -> dict[str, Tensor]:
        scalars = phase.update(batch)
        return scalars if scalars["loss"] < 100 else {}

    batch = first_batches(method, digits, 1)[0]
    with pytest.raises(WaitsForDevice), no_waiting():
        curious(batch)
