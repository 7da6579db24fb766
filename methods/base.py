"""The contract between a method and the training loop.

A method owns its networks, its optimisers and its per-sample state, and yields the phases it is trained in. The loop
(`training/loop.py`) owns everything else: batches, evaluation, selection of weights, checkpoints, resume, records.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from debiaslab.core.errors import UserError, one_of, require_known
from debiaslab.core.settings import require
from debiaslab.methods.optimizers import OPTIMIZERS
from debiaslab.methods.recipes import Recipe, Recipes
from debiaslab.models import Networks


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


@dataclass(frozen=True)
class Task:
    """What a method may know of its task: the training targets int64 [N], for per-sample state, and the run's seed."""

    num_classes: int
    train_target: Tensor
    seed: int


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Hyper-parameters that every method has.

    `STEP_SETTINGS` names those that count steps; they shrink with the length of training (`defaults.py`).
    """

    STEP_SETTINGS: ClassVar[tuple[str, ...]] = ()

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 256
    epochs: int | None = 100  # length of each phase, unless the method has a setting for the phase
    num_steps: int | None = None  # length of each phase in optimiser steps, instead of epochs

    def __post_init__(self) -> None:
        require_optimizer("optimizer", self.optimizer)
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require(self.batch_size > 0, "batch_size", self.batch_size, "positive")
        require((self.epochs is None) != (self.num_steps is None), "epochs", self.epochs, "set, or num_steps, not both")
        require(self.epochs is None or self.epochs > 0, "epochs", self.epochs, "positive")
        require(self.num_steps is None or self.num_steps > 0, "num_steps", self.num_steps, "positive")

    def rules(self) -> dict[str, str]:
        """The selection rules among the settings, by the setting's name."""
        return {}

    def without_effect(self) -> dict[str, tuple[str, ...]]:
        """Settings that are switched off by others: "hand_over=None" -> their names."""
        return {}


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


class Method(nn.Module):
    """Base of all methods: networks and per-sample state are submodules and buffers, so `state_dict` is complete."""

    Config: ClassVar[type[MethodConfig]]
    RECIPES: ClassVar[Recipes]
    PUBLISHED: ClassVar[Mapping[str, Any]] = {}  # hyper-parameters of the authors' own selection, for their protocol
    WITHOUT_VALID: ClassVar[Mapping[str, Any]] = {}  # hyper-parameters for data without validation images

    # what a method needs and can; `tests/methods/test_contract.py` holds it to that
    needs_bias: ClassVar[bool] = False  # batches with bias labels
    needs_whole_batch: ClassVar[bool] = False  # its loss is no mean of losses over parts of the batch
    can_be_stacked: ClassVar[bool] = True  # runs can take the steps of at least one phase as one: a `Descent`
    can_be_captured: ClassVar[bool] = True  # the same steps can be captured as CUDA graphs, with fused optimisers

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        super().__init__()

    def phases(self) -> Sequence[Phase]:
        """The phases in order; the last one's prediction is the method's."""
        raise NotImplementedError

    @classmethod
    def search_space(cls, data: Mapping[str, Any]) -> dict[str, str]:
        """The ranges in which the authors searched their hyper-parameters on data of the settings `data`, in words.

        "uniform(0, 1)" and the like, by hyper-parameter (`docs/search.md`); empty where they told none.
        """
        return {}

    def predict(self, image: Tensor) -> Tensor:
        """Logits [B, num_classes] of the trained classifier for images [B, C, H, W]."""
        phase = self.phases()[-1]
        return next(iter(phase.logits(image).values()))

    # ---- what is recorded about the training samples; for evaluation only

    def sample_weights(self) -> Tensor | None:
        """Weight of each training sample in the debiased loss as of now, float [N]; None if the method has none.

        Not-a-number for a sample that has no weight yet.
        """
        return None

    def taken_for_conflicting(self) -> Tensor | None:
        """Which training samples the method takes for bias-conflicting as of now, bool [N]; None if it does not say."""
        return None

    def kept_samples(self) -> Tensor | None:
        """The training samples that the method has selected as bias-aligned, bool [N]; None if it selects none."""
        return None

    def votes_for_aligned(self) -> Tensor | None:
        """How many biased models take each training sample for bias-aligned, integers [N]; None if they do not vote."""
        return None


def require_optimizer(setting: str, name: str) -> None:
    """Raise `ValueError` for an unknown optimiser."""
    require(name in OPTIMIZERS, setting, name, f"one of {', '.join(OPTIMIZERS)}")


def set_modes(method: Method, phase: Phase) -> None:
    """Put the modules that `phase` trains into train mode, all others of `method` into eval mode."""
    method.eval()
    for module in phase.training:
        module.train()


@dataclass(frozen=True)
class Descent:
    """The usual update: one step of all `optimizers` down the gradient of `losses(batch)["loss"]`.

    `losses` returns scalars: the loss and, to be recorded, its terms. It is a function of parameters, buffers and batch
    alone (it may change buffers in place): that is what lets several runs be trained as one (`lockstep/stacking.py`).
    """

    losses: Callable[[Batch], dict[str, Tensor]]
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


def recipe_for(method: type[Method], dataset: str, name: str | None) -> tuple[str, Recipe]:
    """The recipe `name` (None: the default one) of `method` on `dataset`, with its name.

    Raises `UserError` for a data set that the method has no recipe for, or an unknown recipe.
    """
    if dataset not in method.RECIPES:
        raise UserError(
            f"{method.__name__} has no recipe for the data set {dataset!r}; it has for {one_of(method.RECIPES)}"
        )
    recipes = method.RECIPES[dataset]
    name = name or next(iter(recipes))
    require_known(f"recipe of {method.__name__} on {dataset}", name, recipes)
    return name, recipes[name]
