"""Phases: what a method is trained on, by what update, and for how long."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Batch:
    """image float32 [B, C, H, W] in [0, 1]; target int64 [B]; index int64 [B], positions in the training split.

    The images of a data set that says how to normalise them are normalised so.
    `step` counts the phase's updates from 0. `bias` int64 [B] is None unless the method declares `needs_bias`: no
    other method can see it.
    """

    image: Tensor
    target: Tensor
    index: Tensor
    step: int
    bias: Tensor | None = None

    def tensors(self) -> dict[str, Any]:
        """Those of the batch, by their names."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


Losses = Callable[[Batch], dict[str, Tensor]]  # scalars, of which "loss" is minimised


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of training.

    `update` trains on one batch and returns detached scalars (losses and terms, float [], on the device) to be
    averaged and recorded. `logits` gives the logits [B, num_classes] of every branch that is evaluated; the first
    one is the phase's prediction. `training` are the modules in train mode, all others are in eval mode.
    `learning_rate_factor` multiplies the optimisers' rates, given the phase's step and the steps of an epoch.
    `prepare` is called before the first step, also of a run that is resumed, if the phase sees each training image more
    than once and without random changes: with a pass over all of them in order, and the modules in their modes.
    The phase is evaluated at the end of epochs, as the run asks for it, and at its own end; `evaluation_steps`, counts
    of updates done, replace all of these. The weights that leave the phase are chosen by the rule `hand_over`
    (`evaluation/selection.py`), over the prediction's accuracies; then `finish` is called with those weights in place,
    and with a pass over all training images in order. `features` gives the features [B, F] below the linear head of
    every branch that has an encoder of its own: they are measured and drawn, never trained with.
    """

    name: str
    update: Callable[[Batch], dict[str, Tensor]]
    logits: Callable[[Tensor], dict[str, Tensor]]
    training: Sequence[nn.Module]
    optimizers: Mapping[str, Optimizer]
    batch_size: int
    epochs: int | None
    num_steps: int | None
    drop_last: bool
    evaluation_steps: Sequence[int] | None = None
    hand_over: str = "last"
    prepare: Callable[[Iterable[Batch]], None] = lambda training_images: None
    finish: Callable[[Iterable[Batch]], None] = lambda training_images: None
    learning_rate_factor: Callable[[int, int], float] = lambda step, steps_per_epoch: 1.0
    features: Callable[[Tensor], dict[str, Tensor]] = lambda image: {}


@dataclass(frozen=True)
class Descent:
    """The usual update: one step of all `optimizers` down the gradient of `losses(batch)["loss"]`.

    `losses` returns scalars: the loss and, to be recorded, its terms. It is a function of parameters, buffers and batch
    alone (it may change buffers in place): that is what lets several runs be trained as one (`lockstep/stacking.py`).
    """

    losses: Losses
    optimizers: Sequence[Optimizer]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        losses = self.losses(batch)
        descend(losses["loss"], *self.optimizers)
        return {name: loss.detach() for name, loss in losses.items()}


def descend(loss: Tensor, *optimizers: Optimizer) -> None:
    """One step of each optimiser down the gradient of the scalar `loss`."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers:
        optimizer.step()


def set_modes(method: nn.Module, phase: Phase) -> None:
    """Put the modules that `phase` trains into train mode, all others of `method` into eval mode."""
    method.eval()
    for module in phase.training:
        module.train()
