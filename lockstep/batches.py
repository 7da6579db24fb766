"""The batches of several runs as one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from debiaslab.methods import Batch, Method, Phase
from debiaslab.training.batches import Batches, Plan


@dataclass(frozen=True)
class PlannedBatch:
    """The next batch of a run, not made yet; `images` is set if threads have prefetched them."""

    source: Batches
    plan: Plan
    images: Tensor | None = None

    def make(self) -> Batch:
        return self.source.make(self.plan, self.images)


@dataclass(frozen=True)
class Step:
    """The next update of a run: `phase.update(batch.make())`, or the same step together with other runs."""

    method: Method
    phase: Phase
    batch: PlannedBatch


def plan_batches(source: Batches, step: int) -> Iterator[PlannedBatch]:
    """The batches of `source` from step `step` to the end of the phase."""
    return (PlannedBatch(source, plan, images) for plan, images in source.read_ahead(source.plans(step)))


def make_stacked(planned: Sequence[PlannedBatch]) -> Batch:
    """Make the batches of R runs at the same step as one batch of tensors [R, B, ...].

    Batches of the same data are made in one go, unless their images have been prefetched.
    """
    first, plans = planned[0], [batch.plan for batch in planned]
    same_data = len({batch.source.data.fingerprint for batch in planned}) == 1
    if same_data and first.images is None:
        index = torch.cat([plan.index for plan in plans])
        draws = [plan.draws for plan in plans if plan.draws is not None]
        batch = first.source.make(Plan(index, first.plan.step, torch.cat(draws) if draws else None))
        tensors = {name: value.unflatten(0, (len(plans), -1)) for name, value in batch.tensors().items()}
    else:
        batches = [batch.make() for batch in planned]
        batch, each = batches[0], [batch.tensors() for batch in batches]
        tensors = {name: torch.stack([own[name] for own in each]) for name in each[0]}
    return replace(batch, **tensors)
