"""Train runs that differ only in their seed as one: a step of all of them is one step of stacked networks.

One batched matrix product for five runs costs less than five products if a step is bound by kernel launches rather than
arithmetic: for small networks on a GPU. Whether it pays off is measured (`commands/studies/pace.py`).

Each run has its own trainer, order of images, optimisers, evaluations and checkpoints, so that it can continue alone
from its checkpoint. Results are those of the run alone up to rounding.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from debiaslab.core.errors import TrainingDiverged, UserError
from debiaslab.lockstep.batches import Step, plan_batches
from debiaslab.lockstep.graphs import Scalars, descent_of
from debiaslab.lockstep.stacking import Stack
from debiaslab.methods import Method
from debiaslab.models.numerics import computes_as_usual
from debiaslab.training.loop import Trained, Trainer


def fit_together(trainers: Sequence[Trainer]) -> list[Trained | UserError | TrainingDiverged]:
    """Train all runs; returns the outcome of each, in order. An error in one run does not stop the others."""
    return Lockstep(trainers).outcomes()


def steps_of(trainer: Trainer) -> Generator[Step]:
    """Yield the steps of `trainer.fit()`; the caller takes each step and calls `trainer.finish_step`."""
    trainer.save()
    for phase in trainer.phases[trainer.phase_index :]:
        trainer.start_phase()
        for batch in plan_batches(trainer.batches, trainer.phase_step):
            trainer.start_step()
            yield Step(trainer.method, phase, batch)
        trainer.finish_phase()


@dataclass
class Member:
    """One of the runs: its next step, or its outcome."""

    number: int
    trainer: Trainer
    steps: Generator[Step]
    stackable: bool
    step: Step | None = None
    outcome: Trained | UserError | TrainingDiverged | None = None

    def advance(self, scalars: Scalars | None) -> None:
        """Finish the step that returned `scalars` (None: there was none) and proceed to the next, or to the end."""
        try:
            if scalars is not None:
                self.trainer.finish_step(scalars)
            self.step = next(self.steps, None)
            if self.step is None:
                self.outcome = self.trainer.outcome()
        except (UserError, TrainingDiverged) as error:
            self.stop(error)

    def stop(self, error: UserError | TrainingDiverged) -> None:
        self.steps.close()  # ends the threads that prefetch images
        self.step, self.outcome = None, error.with_traceback(None)  # its frames would keep the stacks alive


class Lockstep:
    """Advances runs step by step; runs at the same step of the same phase take it as one."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.members = [
            Member(number, trainer, steps_of(trainer), can_be_stacked(trainer.method))
            for number, trainer in enumerate(trainers)
        ]
        self.stacks: dict[tuple[str, frozenset[int]], Stack] = {}  # by phase and members; each member is in at most one

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
        """Take one step of each member."""
        steps = [member.step for member in group if member.step is not None]
        try:
            scalars = self._update(frozenset(member.number for member in group), steps)
        except UserError as error:  # images of the batch cannot be read
            for member in group:
                member.stop(error)
            return
        for member, own in zip(group, scalars, strict=True):
            member.advance(own)

    def _update(self, members: frozenset[int], steps: Sequence[Step]) -> list[Scalars]:
        key = steps[0].phase.name, members
        if key in self.stacks:
            return self.stacks[key].update(steps)
        for known in [known for known in self.stacks if known[1] & members]:
            self.stacks.pop(known).part()
        if len(steps) == 1:
            return [steps[0].phase.update(steps[0].batch.make())]
        self.stacks[key] = Stack(steps)
        return self.stacks[key].update(steps)


def can_be_stacked(method: Method) -> bool:
    """Whether runs of `method` can be stacked; vmap does not support networks with another precision or layout."""
    return method.can_be_stacked and computes_as_usual(method)


def key_of(member: Member) -> tuple[Any, ...]:
    """A key that is equal for members that can take their next step as one."""
    step = member.step
    assert step is not None
    if not member.stackable or descent_of(step.phase) is None:
        return (member.number,)
    return step.phase.name, step.batch.plan.step, len(step.batch.plan.index)
