"""Runs that differ in their seed alone, trained as one: each step of all of them is one step of stacked networks.

A product of matrices for five runs costs less than five products where a step is bound by the calls, not by the
arithmetic: small networks on a GPU. Whether it pays is for the machine to say (`commands/studies/pace.py`).

Each run keeps its own loop, order of images, optimisers, evaluations and checkpoints, so that it can go on alone from
its own checkpoint. The numbers are those of the run alone but for rounding.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from core.errors import TrainingDiverged, UserError
from methods import Batch, Method
from methods.base import Descent
from models.numerics import computes_as_usual
from training.batches import made_as_one
from training.graphs import ReplayedDescent, Scalars, descent_of
from training.loop import Step, Trained, Trainer

# how a run is trained: alone, unless `commands/together.py` says otherwise
training: ContextVar[Callable[[Trainer], Trained]] = ContextVar("training", default=Trainer.fit)


class StackedDescent:
    """The `Descent` of several methods of one kind in the same phase, as one.

    Their networks are one above the other, [R, ...] for each tensor. From then on a method's own tensors are views of
    their places in the stack, so that whoever reads, loads or optimises them does so with the stacked ones.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        """`steps` are the steps that the methods ask for; their phases have a `Descent` as their update."""
        descents = [_descent(step) for step in steps]
        self.optimizers = [optimizer for descent in descents for optimizer in descent.optimizers]
        self.losses = _Losses(steps[0].method, descents[0])
        members = [_tensors(step.method) for step in steps]
        self.stacked: dict[str, Tensor] = {}
        self.trained: list[tuple[Tensor, list[Tensor]]] = []  # stacked parameter, and those that it is made of
        with torch.no_grad():
            for name, first in members[0].items():
                own = [member[name] for member in members]
                self.stacked[name] = stacked = torch.stack([tensor.detach() for tensor in own])
                for place, tensor in zip(stacked, own, strict=True):
                    tensor.data = place
                if first.requires_grad:
                    self.trained.append((stacked.requires_grad_(), own))

    def __call__(self, batch: Batch) -> Scalars:
        """One step of each run, on tensors [R, B, ...] of all their batches; returns scalars [R]."""

        def losses_of(tensors: Mapping[str, Tensor], own: Mapping[str, Any]) -> Scalars:
            scalars: Scalars = functional_call(self.losses, dict(tensors), (replace(batch, **own),))
            return scalars

        losses = vmap(losses_of)(self.stacked, batch.tensors())
        for stacked, _ in self.trained:
            stacked.grad = None
        losses["loss"].sum().backward()  # type: ignore[no-untyped-call]
        for stacked, own in self.trained:
            for place, parameter in enumerate(own):
                parameter.grad = None if stacked.grad is None else stacked.grad[place]
        for optimizer in self.optimizers:
            optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}


class Stack:
    """Methods of one kind in the same phase, whose steps are done as one: replayed, if each one's own are."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """`steps` are the steps that the methods ask for; their phases have a `Descent` as their update."""
        self.descend: Callable[[Batch], Scalars] = StackedDescent(steps)
        alone = steps[0].phase.update
        if isinstance(alone, ReplayedDescent):
            self.descend = ReplayedDescent(self.descend, alone.new_recorder)

    def update(self, steps: Sequence[Step]) -> list[Scalars]:
        """What `phase.update(batch.made())` of each would do and return."""
        rows = self.descend(made_as_one([step.batch for step in steps]))
        return [{name: row[place] for name, row in rows.items()} for place in range(len(steps))]


class _Losses(nn.Module):
    """The losses of a phase as a module that holds all tensors of the method."""

    def __init__(self, method: Method, descent: Descent) -> None:
        super().__init__()
        self.method, self.of_batch = method, descent.losses

    def forward(self, batch: Batch) -> Scalars:
        return self.of_batch(batch)


def _descent(step: Step) -> Descent:
    descent = descent_of(step.phase)
    assert descent is not None
    return descent


def _tensors(method: Method) -> dict[str, Tensor]:
    """All parameters and buffers, by their names in `_Losses`."""
    named = [*method.named_parameters(prefix="method"), *method.named_buffers(prefix="method")]
    return dict(named)


def fit_together(trainers: Sequence[Trainer]) -> list[Trained | UserError | TrainingDiverged]:
    """The outcome of `fit` of each, in order; what stops one of them does not stop the others."""
    return Lockstep(trainers).outcomes()


@dataclass
class Member:
    """A training on its way: the step that it asks for."""

    number: int
    steps: Generator[Step, Scalars, Trained]
    stackable: bool  # its networks can be mapped over: PyTorch cannot all that others do
    step: Step | None = None
    outcome: Trained | UserError | TrainingDiverged | None = None

    def advance(self, scalars: Scalars | None) -> None:
        """Go on to the next step, or to the end."""
        try:
            self.step = next(self.steps) if scalars is None else self.steps.send(scalars)
        except StopIteration as end:
            self.step, self.outcome = None, end.value
        except (UserError, TrainingDiverged) as error:
            self.step, self.outcome = None, error


class Lockstep:
    """Trainings that go on step by step; those that are at the same step of the same phase take it as one."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.members = [
            Member(number, trainer.steps(), computes_as_usual(trainer.method))
            for number, trainer in enumerate(trainers)
        ]
        self.stacks: dict[tuple[str, frozenset[int]], Stack] = {}  # by phase and members; each member is in one at most

    def outcomes(self) -> list[Trained | UserError | TrainingDiverged]:
        for member in self.members:
            member.advance(None)
        while running := [member for member in self.members if member.step is not None]:
            groups: dict[tuple[Any, ...], list[Member]] = {}
            for member in running:
                groups.setdefault(key_of(member), []).append(member)
            for group in groups.values():
                self._take(group)
        return [member.outcome for member in self.members if member.outcome is not None]

    def _take(self, group: Sequence[Member]) -> None:
        """One step of each."""
        steps = [member.step for member in group if member.step is not None]
        if len(steps) == 1:
            scalars = [steps[0].phase.update(steps[0].batch.made())]
        else:
            scalars = self._stack_of(group, steps).update(steps)
        for member, own in zip(group, scalars, strict=True):
            member.advance(own)

    def _stack_of(self, group: Sequence[Member], steps: Sequence[Step]) -> Stack:
        members = frozenset(member.number for member in group)
        key = steps[0].phase.name, members
        if key not in self.stacks:
            self.stacks = {known: stack for known, stack in self.stacks.items() if not known[1] & members}
            self.stacks[key] = Stack(steps)
        return self.stacks[key]


def key_of(member: Member) -> tuple[Any, ...]:
    """Equal for members that can take their next steps as one."""
    step = member.step
    assert step is not None
    if not member.stackable or descent_of(step.phase) is None:
        return (member.number,)
    return step.phase.name, step.batch.plan.step, len(step.batch.plan.index)
