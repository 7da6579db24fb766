"""The batches of a phase."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from debiaslab.core import ranks
from debiaslab.core.errors import UserError
from debiaslab.core.memory import copy_to
from debiaslab.core.prefetching import prefetch
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation.counting import chunk_size
from debiaslab.methods import Batch, Phase


@dataclass(frozen=True)
class Plan:
    """The content of a batch: indices int64 [B] in the training split, and random numbers [B, draws] for augmentation
    (None: no augmentation)."""

    index: Tensor
    step: int
    draws: Tensor | None


class Batches:
    """The batches of one phase, shuffled in each epoch.

    Order and augmentation are functions of (seed, phase, epoch, image), or of (seed, phase, epoch, place in the epoch)
    where an epoch is not each image once. There, a single image that is left for the last batch is dropped, as batch
    norm could not be trained on it. `workers` threads read images that are on file
    and, on the CPU, augment batches while the networks train on others.

    If several processes train together (`core.ranks`), each reads and augments the images of its part of a batch alone.
    """

    def __init__(self, data: BiasedDataset, phase: Phase, seed: int, with_bias: bool, workers: int = 0) -> None:
        self.data, self.split, self.phase, self.seed, self.with_bias = data, data.train, phase, seed, with_bias
        self.ranks = ranks.active()
        self.device = self.split.target.device
        self.on_file = self.split.reader is not None
        self.on_cpu = self.device.type == "cpu"
        self.workers = workers if self.on_file or (self.on_cpu and data.augment is not None) else 0
        self.reader_draws = self.split.reader.num_draws if self.split.reader is not None else 0
        self.num_draws = self.reader_draws + (0 if data.augment is None else data.augment.num_draws)
        self.positions = None if phase.positions is None else phase.positions().cpu()
        self.weights = None if phase.sampling_weights is None else phase.sampling_weights().cpu()
        self.resamples = self.positions is not None or self.weights is not None
        self.epoch_size = len(self.split) if self.positions is None else len(self.positions)
        self.batch_size = min(phase.batch_size, self.epoch_size)
        steps = self.epoch_size / self.batch_size
        single = self.resamples and self.epoch_size % self.batch_size == 1
        self.steps_per_epoch = int(steps) if phase.drop_last or single else ceil(steps)
        if phase.num_steps is not None:
            self.num_steps = phase.num_steps
        elif phase.epochs is not None:
            self.num_steps = phase.epochs * self.steps_per_epoch
        else:
            raise UserError(f"phase {phase.name} has neither epochs nor num_steps")

    @property
    def epochs_per_pass(self) -> int:
        """The whole epochs with about as many images as the training split has; 1 unless an epoch is a small part."""
        return max(1, len(self.split) // self.epoch_size)

    @property
    def repeats_images(self) -> bool:
        """Whether each image is seen more than once, without augmentation."""
        return self.num_draws == 0 and self.num_steps > self.steps_per_epoch

    def from_step(self, step: int) -> Iterator[Batch]:
        """The batches from step `step` (counted from 0) to the end of the phase."""
        return self._make_all(self.plans(step))

    def in_order(self) -> Iterator[Batch]:
        """All training images once, in order and without augmentation, in large batches."""
        parts = torch.split(torch.arange(len(self.split)), chunk_size(self.split.image_shape))
        return self._make_all(Plan(self._place(part), step, None) for step, part in enumerate(parts))

    def plans(self, step: int) -> Iterator[Plan]:
        """The plans of the batches from step `step` to the end of the phase."""
        epoch = -1
        while step < self.num_steps:
            position = step % self.steps_per_epoch
            if epoch != step // self.steps_per_epoch:
                epoch = step // self.steps_per_epoch
                order, draws = self._order(epoch), self._draws(epoch)
            part = slice(position * self.batch_size, (position + 1) * self.batch_size)
            index = order[part]
            yield Plan(index, step, None if draws is None else draws[part if self.resamples else index])
            step += 1

    def read_ahead(self, plans: Iterator[Plan]) -> Iterator[tuple[Plan, Tensor | None]]:
        """The plans, each with its images if threads prefetch them."""
        if self.workers == 0:
            return ((plan, None) for plan in plans)
        return prefetch(lambda plan: (plan, self._read(plan)), plans, self.workers)

    def make(self, plan: Plan, images: Tensor | None = None) -> Batch:
        """Make the batch of `plan`; `images` are those that `read_ahead` has read."""
        index = plan.index
        if images is None:
            images = self._read(plan)
        if not self.on_cpu:
            index, images = copy_to(index, self.device), copy_to(images, self.device)
            images = self._transform(images, index, plan)
        if self.ranks is not None and len(images) < len(index):
            images = ranks.OwnImages.of(images, len(index), self.ranks)
        return Batch(
            image=images,
            target=self.split.target.index_select(0, index),
            index=index,
            step=plan.step,
            bias=self.split.bias.index_select(0, index) if self.with_bias else None,
        )

    def _make_all(self, plans: Iterator[Plan]) -> Iterator[Batch]:
        return (self.make(plan, images) for plan, images in self.read_ahead(plans))

    def _order(self, epoch: int) -> Tensor:
        """The training images of the epoch, int64 [epoch_size]."""
        generator = torch_generator(self.seed, "order", self.phase.name, epoch)
        if self.weights is not None:
            return self._place(torch.multinomial(self.weights, self.epoch_size, replacement=True, generator=generator))
        order = torch.randperm(self.epoch_size, generator=generator)
        return self._place(order if self.positions is None else self.positions[order])

    def _draws(self, epoch: int) -> Tensor | None:
        """Random numbers [epoch_size, num_draws] in [0, 1): those of the reader, then those of the augmentation."""
        if self.num_draws == 0:
            return None
        generator = torch_generator(self.seed, "augmentation", self.phase.name, epoch)
        return self._place(torch.rand(self.epoch_size, self.num_draws, generator=generator))

    def _place(self, values: Tensor) -> Tensor:
        """Move `values` to the device; they stay on the CPU if they are needed there to read images from file."""
        return values if self.on_file else values.to(self.device)

    def _read(self, plan: Plan) -> Tensor:
        """Read the images of a batch; on the CPU also augment and normalise them, so that threads do that work."""
        part = self._part(plan)
        images = self.split.read(
            plan.index[part], None if plan.draws is None else plan.draws[part, : self.reader_draws]
        )
        if self.on_cpu:
            return self._transform(images, plan.index, plan)
        return images.pin_memory() if self.on_file and self.device.type == "cuda" else images

    def _transform(self, images: Tensor, index: Tensor, plan: Plan) -> Tensor:
        """Augment and normalise the images that were read; `index` is that of `plan`, on their device."""
        if self.data.augment is not None:
            part, draws = self._part(plan), plan.draws
            own = None if draws is None else copy_to(draws[part, self.reader_draws :], self.device)
            images = self.data.augment(images, index[part], own)
        return as_input(images, self.data.normalize)

    def _part(self, plan: Plan) -> slice:
        """The part of the batch whose images this process reads: all of a batch that has none for some process."""
        count = len(plan.index)
        return slice(None) if self.ranks is None or count < self.ranks.size else self.ranks.part(count)
