"""Phases: the stages of a method's training, each with its own update, length and batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from debiaslab.core import ranks


@dataclass(frozen=True)
class Batch:
    """image float32 [B, C, H, W]; target int64 [B]; index int64 [B], positions in the training split.

    Images are in [0, 1], or normalised if the data set defines a normalisation. `step` counts the phase's updates from
    0. `bias` int64 [B] is None unless the method declares `needs_bias`, so that no other method can see it.
    """

    image: Tensor
    target: Tensor
    index: Tensor
    step: int
    bias: Tensor | None = None

    def tensors(self) -> dict[str, Any]:
        """The batch's tensors, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


Losses = Callable[[Batch], dict[str, Tensor]]  # scalars, of which "loss" is minimised


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stage of training.

    - `update` trains on one batch and returns detached scalars (the loss and its terms, float [], on the device), which
      are averaged and recorded.
    - `logits` computes the logits [B, num_classes] of every branch to evaluate; the first is the phase's prediction.
    - `features` computes the features [B, F] below the linear head of every branch with its own encoder, for
      measurements and plots; they are not used in training.
    - `training`: the modules in train mode; all others are in eval mode.
    - `learning_rate_factor` maps the phase's step and the steps per epoch to a factor on the learning rates.
    - `begin` is called when the phase starts or is resumed, in eval mode, with iterators over all training images and
      over all validation images (None: there are none), in order. They have bias labels as the method declares.
    - `prepare` is called before the first step, also after resuming, with an iterator over all training images in order
      and the modules in their modes; only if the phase sees each image more than once and without augmentation.
    - `evaluation_steps`: numbers of updates after which the phase is evaluated, instead of the ends of epochs (at the
      run's interval; with `positions` of few images, after as many epochs as see the number of all) and of the phase.
    - `positions`, int64 [M]: the training images of an epoch, a part of them or some several times; None: each once.
      `sampling_weights`, float64 [N]: an epoch is N draws with replacement, with probabilities in these proportions.
      Both are called when the phase starts or is resumed, so they may depend on earlier phases.
    - `finish_epoch` is called after each epoch, and after the last step of the phase, in eval mode, with an iterator
      over all training images in order.
    - `hand_over`: the rule (`evaluation/selection.py`) that selects the checkpoint at the end of the phase, by the
      accuracies of its prediction. `finish` is then called with those weights loaded and an iterator over all training
      images in order.
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
    positions: Callable[[], Tensor] | None = None
    sampling_weights: Callable[[], Tensor] | None = None
    hand_over: str = "last"
    begin: Callable[[Iterable[Batch], Iterable[Batch] | None], None] | None = None
    prepare: Callable[[Iterable[Batch]], None] = lambda training_images: None
    finish_epoch: Callable[[Iterable[Batch]], None] | None = None
    finish: Callable[[Iterable[Batch]], None] = lambda training_images: None
    learning_rate_factor: Callable[[int, int], float] = lambda step, steps_per_epoch: 1.0
    features: Callable[[Tensor], dict[str, Tensor]] = lambda image: {}


@dataclass(frozen=True)
class Descent:
    """The usual update: one step of all `optimizers` on the gradient of `losses(batch)["loss"]`.

    `losses` returns scalars: the loss and its terms, which are recorded. It depends only on parameters, buffers and the
    batch (it may change buffers in place), so that several runs can be trained as one (`lockstep/stacking.py`).
    """

    losses: Losses
    optimizers: Sequence[Optimizer]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        losses = self.losses(batch)
        descend(losses["loss"], *self.optimizers)
        return {name: loss.detach() for name, loss in losses.items()}


def descend(loss: Tensor, *optimizers: Optimizer) -> None:
    """Backpropagate the scalar `loss` and take one step with each optimiser."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if (sharing := ranks.active()) is not None:
        sharing.sum_gradients(parameters_of(*optimizers))
    for optimizer in optimizers:
        optimizer.step()


def parameters_of(*optimizers: Optimizer) -> Iterator[Tensor]:
    return (tensor for optimizer in optimizers for group in optimizer.param_groups for tensor in group["params"])


def set_modes(method: nn.Module, phase: Phase) -> None:
    """Put the modules that `phase` trains into train mode, all others of `method` into eval mode."""
    method.eval()
    for module in phase.training:
        module.train()
