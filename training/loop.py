"""The training loop: phases, batches, evaluation, selection, checkpoints, exact resume."""

import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.counting import measure_splits
from debiaslab.evaluation.decodability import Decodability
from debiaslab.evaluation.diagnostics import sample_diagnostics
from debiaslab.evaluation.history import Evaluation, History, empty_history
from debiaslab.evaluation.selection import is_better, parse_rule
from debiaslab.methods import Batch, Method, Phase
from debiaslab.methods.optimizers import scale_learning_rates
from debiaslab.methods.phase import set_modes
from debiaslab.training.batches import Batches
from debiaslab.training.checkpoint import (
    add_prefix,
    load_optimizer,
    optimizer_tensors,
    read_checkpoint,
    require_same_identity,
    without_prefix,
    write_checkpoint,
)
from debiaslab.training.losses import LossSums

SAVING = 0.02  # maximum fraction of the time spent on saving the state
CHECK_STEPS = 500  # steps between checks that the losses are finite


class Observer(Protocol):
    """Callbacks of the training loop."""

    def progress(self, phase: str, step: int, num_steps: int) -> None: ...

    def evaluated(self, history: History, evaluation: Evaluation) -> None: ...


@dataclass(frozen=True)
class Options:
    """How a run is trained and saved, independent of the method.

    `selection`: the rule that selects the best checkpoint. `identity`: settings that must be equal to resume from a
    checkpoint; `earlier`: their values for older checkpoints that lack them. `checkpoint`: the file to save the state
    in (None: do not save), at evaluations that are at least `checkpoint_seconds` apart. `workers`: threads that read
    images from files. `decodability`: epochs between measurements, which are also made at the end of a phase (None:
    never).
    """

    seed: int
    selection: str
    evaluate_every: int = 1  # epochs
    identity: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    checkpoint_seconds: float = 10.0
    workers: int = 0
    decodability: int | None = None


@dataclass
class Best:
    """The best value of the current phase so far, and the method's state at that evaluation."""

    value: float | None = None
    state: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """The `history` of all evaluations, and the weights `selected` by the rule (the method has the last ones)."""

    history: History
    selected: dict[str, Tensor]


class Trainer:
    """Trains `method` on `data`, both on the same device.

    A run only needs `fit`. To train several runs as one, `debiaslab/lockstep` calls the methods that `fit` calls, in
    the same order.
    """

    def __init__(self, method: Method, data: BiasedDataset, options: Options, observer: Observer) -> None:
        """Raises `UserError` if a selection rule does not fit the data."""
        self.method, self.data, self.options, self.observer = method, data, options, observer
        self.phases = list(method.phases())
        has_valid = data.valid is not None
        self.rules = [parse_rule(phase.hand_over, has_valid, f"the rule of {phase.name}") for phase in self.phases[:-1]]
        self.rules.append(parse_rule(options.selection, has_valid, "selection"))
        self.decodability = Decodability(data, options.workers)
        self.history = empty_history(data)
        self.phase_index, self.phase_step, self.best = 0, 0, Best()
        self.batches = self._batches(self.phase)
        self.evaluation_steps = self._evaluation_steps()
        self.losses = LossSums()  # since the last evaluation
        self.last_saved, self.save_seconds = time.monotonic(), 0.0

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self.phases[self.phase_index]

    def fit(self) -> Trained:
        """Train from the current state to the end. Raises `TrainingDiverged` if a loss is not finite."""
        self.save()  # from now on the run can be resumed
        for phase in self.phases[self.phase_index :]:
            self.start_phase()
            for batch in self.batches.from_step(self.phase_step):
                self.start_step()
                self.finish_step(phase.update(batch))
            self.finish_phase()
        return self.outcome()

    def start_phase(self) -> None:
        """Prepare the current phase for its next step."""
        self.batches = self._batches(self.phase)
        self.evaluation_steps = self._evaluation_steps()
        self.losses = LossSums()
        prepare_phase(self.method, self.phase, self.batches)

    def start_step(self) -> None:
        """Set the modes of modules and the learning rates for the next update."""
        if self.losses.count == 0:  # at the start, and after each evaluation
            set_modes(self.method, self.phase)
        factor = self.phase.learning_rate_factor(self.phase_step, self.batches.steps_per_epoch)
        scale_learning_rates(self.phase.optimizers.values(), factor)

    def finish_step(self, scalars: Mapping[str, Tensor]) -> None:
        """Count an update that returned `scalars`, and evaluate and save if due."""
        phase, num_steps = self.phase, self.batches.num_steps
        self.losses.add(scalars)
        self.phase_step += 1
        self.observer.progress(phase.name, self.phase_step, num_steps)
        if self.phase_step % self.batches.steps_per_epoch == 0 or self.phase_step == num_steps:
            finish_epoch(self.method, phase, self.batches)
        if self.phase_step in self.evaluation_steps:
            self._evaluate(self.losses.means(phase.name, self.phase_step))
            self.losses = LossSums()
            self.save(least_seconds=self._save_interval())
        elif self.losses.count % CHECK_STEPS == 0 or self.phase_step == num_steps:
            self.losses.means(phase.name, self.phase_step)  # raises if one is not finite

    def finish_phase(self) -> None:
        """Load the selected weights and proceed to the next phase, if there is one."""
        phase = self.phase
        if phase is self.phases[-1]:
            return
        self.method.load_state_dict(self._selected())
        self.method.eval()
        phase.finish(self.batches.in_order())
        self.phase_index, self.phase_step, self.best = self.phase_index + 1, 0, Best()
        self.save()

    def outcome(self) -> Trained:
        """The result, after the last phase."""
        return Trained(self.history, self.method.weights(self._selected()))

    def _selected(self) -> dict[str, Tensor]:
        """The state that the rule of the phase has selected."""
        return self.best.state or _clone(self.method.state_dict())

    def _evaluation_steps(self) -> Container[int]:
        """The numbers of updates after which the phase is evaluated."""
        if self.phase.evaluation_steps is not None:
            return self.phase.evaluation_steps
        epochs = self.options.evaluate_every * self.batches.epochs_per_pass  # of a subset: as often as of all images
        interval, num_steps = epochs * self.batches.steps_per_epoch, self.batches.num_steps
        return {*range(interval, num_steps, interval), num_steps}

    def _evaluate(self, losses: dict[str, float]) -> None:
        self.method.eval()
        phase, rule = self.phase, self.rules[self.phase_index]
        measured = measure_splits(phase.logits, self.data, self.options.workers, self.method.inferred_groups())
        epoch = ceil(self.phase_step / self.batches.steps_per_epoch)
        evaluation = Evaluation(
            phase=phase.name,
            epoch=epoch,
            phase_step=self.phase_step,
            step=self._steps_before() + self.phase_step,
            losses=losses,
            correct=measured.correct,
            diagnostics=sample_diagnostics(self.method.sample_notes(), self.data) | self._measure_decodability(epoch),
            outcomes=measured.outcomes,
            inferred=measured.inferred,
        )
        self.history.evaluations.append(evaluation)
        if rule.split is not None:
            value = self.history.value(evaluation, rule)
            if is_better(value, self.best.value):
                self.best = Best(value, _clone(self.method.state_dict()))
        self.observer.evaluated(self.history, evaluation)

    def _measure_decodability(self, epoch: int) -> dict[str, float]:
        every = self.options.decodability
        if every is None or (epoch % every and self.phase_step < self.batches.num_steps):
            return {}
        return self.decodability.measure(self.phase.features)

    def _steps_before(self) -> int:
        """The optimiser steps of the previous phases."""
        return sum(self._batches(phase).num_steps for phase in self.phases[: self.phase_index])

    def _batches(self, phase: Phase) -> Batches:
        return Batches(self.data, phase, self.options.seed, self.method.needs_bias, self.options.workers)

    # ---- state

    def _save_interval(self) -> float:
        """The minimum seconds between saves, such that they take at most the fraction `SAVING` of the time."""
        asked = self.options.checkpoint_seconds
        return max(asked, self.save_seconds / SAVING) if asked else 0.0

    def save(self, least_seconds: float = 0.0) -> None:
        """Save the state, unless it was saved less than `least_seconds` ago."""
        path = self.options.checkpoint
        if path is None or time.monotonic() - self.last_saved < least_seconds:
            return
        started = time.monotonic()
        tensors = add_prefix("method", self.method.state_dict()) | add_prefix("best", self.best.state)
        for name, optimizer in self.phase.optimizers.items():
            tensors |= add_prefix(f"optimizer/{name}", optimizer_tensors(optimizer))
        facts = {
            "identity": dict(self.options.identity),
            "phase_index": self.phase_index,
            "phase_step": self.phase_step,
            "best_value": self.best.value,
            "history": asdict(self.history),
        }
        write_checkpoint(path, tensors, facts)
        self.last_saved = time.monotonic()
        self.save_seconds = self.last_saved - started

    def restore(self, path: Path) -> None:
        """Load the state in `path`; training from it gives bit-identical results to an uninterrupted run.

        Passes all evaluations so far to the observer. Raises `UserError` if the file belongs to another run.
        """
        tensors, facts = read_checkpoint(path)
        require_same_identity(path, {**self.options.earlier, **facts.get("identity", {})}, self.options.identity)
        self.phase_index, self.phase_step = facts["phase_index"], facts["phase_step"]
        self.method.load_state_dict(without_prefix("method", tensors))
        device = self.data.train.target.device
        state = {name: tensor.to(device) for name, tensor in without_prefix("best", tensors).items()}
        self.best = Best(facts["best_value"], state)
        for name, optimizer in self.phase.optimizers.items():
            load_optimizer(optimizer, without_prefix(f"optimizer/{name}", tensors))
        for values in facts["history"]["evaluations"]:
            self.history.evaluations.append(Evaluation(**values))
            self.observer.evaluated(self.history, self.history.evaluations[-1])


def finish_epoch(method: Method, phase: Phase, batches: Batches) -> None:
    """Call `phase.finish_epoch`, and set the modes of the modules again."""
    if phase.finish_epoch is not None:
        method.eval()
        phase.finish_epoch(batches.in_order())
        set_modes(method, phase)


def prepare_phase(method: Method, phase: Phase, batches: Batches) -> None:
    """Call `phase.begin` and `phase.prepare`, and set the modes, as before the first step of `batches`."""
    if phase.begin is not None:
        method.eval()
        phase.begin(batches.in_order(), validation_images(method, phase, batches))
    set_modes(method, phase)
    if batches.repeats_images:
        phase.prepare(batches.in_order())


def validation_images(method: Method, phase: Phase, batches: Batches) -> Iterator[Batch] | None:
    """All validation images in order, with bias labels if the method needs them; None if there are none."""
    valid = batches.data.valid
    if valid is None:
        return None
    each_once = replace(phase, positions=None, sampling_weights=None)
    data = replace(batches.data, train=valid)
    return Batches(data, each_once, 0, method.needs_valid_bias, batches.workers).in_order()


def _clone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
