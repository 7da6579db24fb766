"""The one training loop: phases, batches, evaluation, selection, checkpoints, exact resume."""

import time
from collections.abc import Container, Generator, Mapping
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.settings import LATER_SETTINGS
from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.counting import correct_counts
from debiaslab.evaluation.decodability import Decodability
from debiaslab.evaluation.diagnostics import sample_diagnostics
from debiaslab.evaluation.history import Evaluation, History, empty_history
from debiaslab.evaluation.selection import Rule, is_better, parse_rule
from debiaslab.lockstep.graphs import ReplayedDescent, replayed
from debiaslab.methods import Method, Phase
from debiaslab.methods.base import set_modes
from debiaslab.methods.optimizers import scale_learning_rates
from debiaslab.training.batches import Batches, PlannedBatch
from debiaslab.training.checkpoint import (
    load_optimizer,
    optimizer_tensors,
    prefixed,
    read_checkpoint,
    without_prefix,
    write_checkpoint,
)
from debiaslab.training.losses import LossSums

CHECK_STEPS = 500  # a loss that is not finite is noticed within so many steps


class Observer(Protocol):
    """Who is told what happens."""

    def progress(self, phase: str, step: int, num_steps: int) -> None: ...

    def evaluated(self, history: History, evaluation: Evaluation) -> None: ...


@dataclass(frozen=True)
class Options:
    """How a run is trained and kept, whatever the method.

    `selection` is the rule for the weights kept beside the last ones. `identity` is what a checkpoint must share with
    the run that resumes it. `checkpoint` is the file to save the state in (None: nowhere), at an evaluation and no
    more often than every `checkpoint_seconds`. `workers` threads read images that are on file. `decodability` is
    measured every so many epochs, and at the end of a phase (None: never). `cuda_graphs`: see `lockstep/graphs.py`.
    """

    seed: int
    selection: str
    evaluate_every: int = 1  # epochs
    identity: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    checkpoint_seconds: float = 10.0
    workers: int = 0
    decodability: int | None = None
    cuda_graphs: bool = False


@dataclass
class Best:
    """The best evaluation of the current phase so far, and the method's state then."""

    value: float | None = None
    state: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """An update that a training asks for: `phase.update(batch.made())`, or the same with those of other runs as one."""

    method: Method
    phase: Phase
    batch: PlannedBatch


@dataclass(frozen=True)
class Trained:
    """`history` of all evaluations; `selected` the state that the rule chose (the method itself holds the last)."""

    history: History
    selected: dict[str, Tensor]


class Trainer:
    """Trains `method` on `data`, both on the same device."""

    def __init__(self, method: Method, data: BiasedDataset, options: Options, observer: Observer) -> None:
        """Raises `UserError` if a selection rule does not fit the data."""
        self.method, self.data, self.options, self.observer = method, data, options, observer
        self.phases = replayed(method.phases()) if options.cuda_graphs else method.phases()
        has_valid = data.valid is not None
        self.rules = [parse_rule(phase.hand_over, has_valid, f"the rule of {phase.name}") for phase in self.phases[:-1]]
        self.rules.append(parse_rule(options.selection, has_valid, "selection"))
        self.decodability = Decodability(data, options.workers)
        self.history = empty_history(data)
        self.phase_index, self.phase_step, self.best = 0, 0, Best()
        self.last_saved = time.monotonic()

    def fit(self) -> Trained:
        """Train from where the state stands to the end. Raises `TrainingDiverged` if a loss is not finite."""
        steps = self.steps()
        try:
            step = next(steps)
            while True:
                step = steps.send(step.phase.update(step.batch.made()))
        except StopIteration as end:
            trained: Trained = end.value
            return trained

    def steps(self) -> Generator[Step, dict[str, Tensor], Trained]:
        """The same, with the updates left to the caller, who sends what each returns."""
        self._save(force=True)  # from here on the run can be resumed
        while True:
            phase, rule = self.phases[self.phase_index], self.rules[self.phase_index]
            yield from self._train_phase(phase, rule)
            selected = self.best.state if self.best.state else _copy(self.method.state_dict())
            if phase is self.phases[-1]:
                return Trained(self.history, selected)
            self.method.load_state_dict(selected)
            self.method.eval()
            phase.finish(self._batches(phase).in_order())
            self.phase_index, self.phase_step, self.best = self.phase_index + 1, 0, Best()
            self._save(force=True)

    def _train_phase(self, phase: Phase, rule: Rule) -> Generator[Step, dict[str, Tensor], None]:
        batches = self._batches(phase)
        num_steps = batches.num_steps
        evaluated = self._evaluated_steps(phase, batches)
        make_ready(self.method, phase, batches)
        sums = LossSums()
        for batch in batches.planned(self.phase_step):
            if sums.count == 0:  # at the start, and after each evaluation
                set_modes(self.method, phase)
            factor = phase.learning_rate_factor(self.phase_step, batches.steps_per_epoch)
            scale_learning_rates(phase.optimizers.values(), factor)
            sums.add((yield Step(self.method, phase, batch)))
            self.phase_step += 1
            self.observer.progress(phase.name, self.phase_step, num_steps)
            if self.phase_step in evaluated:
                self._evaluate(phase, rule, sums.means(phase.name, self.phase_step), batches.steps_per_epoch)
                sums = LossSums()
                self._save(force=False)
            elif sums.count % CHECK_STEPS == 0 or self.phase_step == num_steps:
                sums.means(phase.name, self.phase_step)  # raises if one is not finite
        if isinstance(phase.update, ReplayedDescent):
            phase.update.forget()

    def _evaluated_steps(self, phase: Phase, batches: Batches) -> Container[int]:
        """The counts of updates after which the phase is evaluated."""
        if phase.evaluation_steps is not None:
            return phase.evaluation_steps
        interval = batches.steps_per_epoch * self.options.evaluate_every
        return {*range(interval, batches.num_steps, interval), batches.num_steps}

    def _evaluate(self, phase: Phase, rule: Rule, losses: dict[str, float], steps_per_epoch: int) -> None:
        self.method.eval()
        correct = correct_counts(phase.logits, self.data, self.options.workers)
        epoch = ceil(self.phase_step / steps_per_epoch)
        evaluation = Evaluation(
            phase=phase.name,
            epoch=epoch,
            phase_step=self.phase_step,
            step=self._steps_before(phase) + self.phase_step,
            losses=losses,
            correct=correct,
            diagnostics=sample_diagnostics(self.method, self.data) | self._decodability(phase, epoch),
        )
        self.history.evaluations.append(evaluation)
        if rule.split is not None:
            value = self.history.value(evaluation, rule)
            if is_better(value, self.best.value):
                self.best = Best(value, _copy(self.method.state_dict()))
        self.observer.evaluated(self.history, evaluation)

    def _decodability(self, phase: Phase, epoch: int) -> dict[str, float]:
        every = self.options.decodability
        if every is None or (epoch % every and self.phase_step < self._batches(phase).num_steps):
            return {}
        return self.decodability.measured(phase.features)

    def _steps_before(self, phase: Phase) -> int:
        """Optimiser steps of the phases before `phase`."""
        before = self.phases[: self.phases.index(phase)]
        return sum(self._batches(earlier).num_steps for earlier in before)

    def _batches(self, phase: Phase) -> Batches:
        return Batches(self.data, phase, self.options.seed, self.method.needs_bias, self.options.workers)

    # ---- state

    def _save(self, *, force: bool) -> None:
        path = self.options.checkpoint
        if path is None or not (force or time.monotonic() - self.last_saved >= self.options.checkpoint_seconds):
            return
        tensors = prefixed("method", self.method.state_dict()) | prefixed("best", self.best.state)
        for name, optimizer in self.phases[self.phase_index].optimizers.items():
            tensors |= prefixed(f"optimizer/{name}", optimizer_tensors(optimizer))
        facts = {
            "identity": dict(self.options.identity),
            "phase_index": self.phase_index,
            "phase_step": self.phase_step,
            "best_value": self.best.value,
            "history": asdict(self.history),
        }
        write_checkpoint(path, tensors, facts)
        self.last_saved = time.monotonic()

    def restore(self, path: Path) -> None:
        """Go on from the state in `path`: what follows equals what the interrupted run would have done, bit by bit.

        Tells the observer of all evaluations so far. Raises `UserError` if the file belongs to another run.
        """
        tensors, facts = read_checkpoint(path)
        require_same_identity(path, facts.get("identity", {}), self.options.identity)
        self.phase_index, self.phase_step = facts["phase_index"], facts["phase_step"]
        self.method.load_state_dict(without_prefix("method", tensors))
        device = self.data.train.target.device
        state = {name: tensor.to(device) for name, tensor in without_prefix("best", tensors).items()}
        self.best = Best(facts["best_value"], state)
        for name, optimizer in self.phases[self.phase_index].optimizers.items():
            load_optimizer(optimizer, without_prefix(f"optimizer/{name}", tensors))
        for values in facts["history"]["evaluations"]:
            self.history.evaluations.append(Evaluation(**values))
            self.observer.evaluated(self.history, self.history.evaluations[-1])


def make_ready(method: Method, phase: Phase, batches: Batches) -> None:
    """Put the modules into the modes of `phase`, and let it prepare for `batches`, as it does before its first step."""
    set_modes(method, phase)
    if batches.repeats_images:
        phase.prepare(batches.in_order())


def require_same_identity(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `UserError` naming the first setting in which a checkpoint's run differs from this one."""
    known = {**LATER_SETTINGS, **found}
    for key, value in wanted.items():
        if known.get(key) != value:
            raise UserError(f"{path} is of a run with {key}={known.get(key)!r}, not {value!r}; give the same settings")


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
