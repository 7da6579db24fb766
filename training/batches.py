"""The batches of a phase."""

from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor

from core.errors import UserError
from core.randomness import torch_generator
from datasets import Normalization, Split
from methods import Batch, Phase
from training.evaluation import CHUNK, as_input


class Batches:
    """The batches of one phase: each epoch in a new random order, a function of (seed, phase, epoch)."""

    def __init__(
        self, split: Split, phase: Phase, seed: int, with_bias: bool, normalize: Normalization | None = None
    ) -> None:
        self.split, self.phase, self.seed, self.with_bias, self.normalize = split, phase, seed, with_bias, normalize
        self.batch_size = min(phase.batch_size, len(split))
        self.steps_per_epoch = len(split) // self.batch_size if phase.drop_last else ceil(len(split) / self.batch_size)
        if phase.num_steps is not None:
            self.num_steps = phase.num_steps
        elif phase.epochs is not None:
            self.num_steps = phase.epochs * self.steps_per_epoch
        else:
            raise UserError(f"phase {phase.name} has neither epochs nor num_steps")

    def from_step(self, step: int) -> Iterator[Batch]:
        """The batches from step `step` (from 0) to the end of the phase."""
        order, order_epoch = None, -1
        while step < self.num_steps:
            epoch, position = divmod(step, self.steps_per_epoch)
            if order is None or epoch != order_epoch:
                order, order_epoch = self._order(epoch), epoch
            yield self._batch(order[position * self.batch_size : (position + 1) * self.batch_size], step)
            step += 1

    def in_order(self) -> Iterator[Batch]:
        """All training images once, in order, in batches of `CHUNK`."""
        everything = torch.arange(len(self.split), device=self.split.target.device)
        for step, index in enumerate(torch.split(everything, CHUNK)):
            yield self._batch(index, step)

    def _order(self, epoch: int) -> Tensor:
        generator = torch_generator(self.seed, "order", self.phase.name, epoch)
        return torch.randperm(len(self.split), generator=generator).to(self.split.target.device)

    def _batch(self, index: Tensor, step: int) -> Batch:
        split = self.split
        return Batch(
            image=as_input(split.images.index_select(0, index), self.normalize),
            target=split.target.index_select(0, index),
            index=index,
            step=step,
            bias=split.bias.index_select(0, index) if self.with_bias else None,
        )
