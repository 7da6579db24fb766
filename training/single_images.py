"""Detect batches of a single image, which batch norm cannot be trained on, before training starts."""

from copy import deepcopy
from dataclasses import replace
from math import ceil

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods import Method, Phase
from debiaslab.methods.phase import set_modes
from debiaslab.training.batches import Batches


def require_no_single_image(method: Method, data: BiasedDataset) -> None:
    """Raise `UserError` if a phase of `method` has a batch of one image and cannot be trained on it.

    Whether it can depends on the networks and the size of the images, so it is tried on a copy of `method`.
    """
    for number, phase in enumerate(method.phases()):
        if phase.begin is not None or not has_single_image(phase, len(data.train)):  # `begin` gets all images
            continue
        problem = _problem(deepcopy(method), number, data)
        if problem is not None:
            fitting = _fitting_sizes(phase, len(data.train))
            advice = f"use method.hparams.batch_size={' or '.join(map(str, fitting))}" if fitting else "use more images"
            raise UserError(
                f"{len(data.train)} training images in batches of {phase.batch_size} leave a batch of one image in"
                f" phase {phase.name}, {problem}; {advice}"
            )


def has_single_image(phase: Phase, num_images: int) -> bool:
    """Whether a batch of `phase` has one image."""
    size = min(phase.batch_size, num_images)
    if phase.positions is not None or phase.sampling_weights is not None:  # `Batches` drops it there
        return size == 1
    if size == 1 or phase.drop_last:
        return size == 1
    is_reached = phase.num_steps is None or phase.num_steps >= ceil(num_images / size)
    return num_images % size == 1 and is_reached


def _problem(method: Method, number: int, data: BiasedDataset) -> str | None:
    """Why phase `number` of `method` cannot be trained on one image; `method` is changed."""
    phase = method.phases()[number]
    single = replace(phase, batch_size=1, num_steps=1, epochs=None)
    batch = next(Batches(data, single, 0, method.needs_bias).from_step(0))
    device = next(method.parameters()).device
    set_modes(method, phase)
    try:
        scalars = phase.update(replace(batch, **{name: value.to(device) for name, value in batch.tensors().items()}))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # PyTorch's message
            raise
        return "and batch normalisation needs two"
    return None if all(bool(value.isfinite()) for value in scalars.values()) else "whose loss is undefined"


def _fitting_sizes(phase: Phase, num_images: int) -> list[int]:
    """The nearest batch sizes below and above that leave no single image."""
    below, above = range(phase.batch_size - 1, 1, -1), range(phase.batch_size + 1, 2 * phase.batch_size + 2)
    sizes = [
        next((size for size in side if not has_single_image(replace(phase, batch_size=size), num_images)), None)
        for side in (below, above)
    ]
    return [size for size in sizes if size is not None]
