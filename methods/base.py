"""The contract between a method and the training loop.

A method owns its networks, optimisers and per-sample state, and defines the phases it is trained in. The loop
(`training/loop.py`) owns everything else: batches, evaluation, checkpoint selection, resuming and recording.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from debiaslab.core.settings import Settings, not_negative, positive, require, setting
from debiaslab.methods.optimizers import OPTIMIZER, OPTIMIZERS, build_optimizer
from debiaslab.methods.phase import Descent, Losses, Phase
from debiaslab.methods.ranges import SearchRange
from debiaslab.methods.recipes import Recipe, Recipes
from debiaslab.models import Networks


@dataclass(frozen=True)
class Task:
    """What a method may know about its task: training targets int64 [N], for per-sample state, and the run's seed.

    `train_bias`, int64 [N] in 0 ... `num_biases` - 1, is None unless the method declares `needs_bias`, or if it is
    built to predict only.
    """

    num_classes: int
    train_target: Tensor
    seed: int
    train_bias: Tensor | None = None
    num_biases: int = 1

    def group_counts(self) -> Tensor:
        """The training images of each group, int64 [num_classes, num_biases]; zeros without bias labels."""
        counts = torch.zeros(self.num_classes, self.num_biases, dtype=torch.int64)
        if self.train_bias is not None:
            counts.index_put_((self.train_target, self.train_bias), torch.ones((), dtype=torch.int64), accumulate=True)
        return counts

    def train_groups(self) -> Tensor:
        """The group of each training image, int64 [N], an index of the flattened `group_counts`; 0 without labels."""
        if self.train_bias is None:
            return torch.zeros_like(self.train_target)
        return self.train_target * self.num_biases + self.train_bias


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Settings):
    """Hyper-parameters that every method has."""

    optimizer: str = setting("adam", ", ".join(OPTIMIZERS), OPTIMIZER)
    learning_rate: float = setting(1e-3, "initial learning rate", positive)
    weight_decay: float = setting(0.0, "weight decay of the optimiser", not_negative)
    batch_size: int = setting(256, "images in a training batch", positive)
    epochs: int | None = setting(100, "length of each phase that has no length setting of its own", positive)
    num_steps: int | None = setting(None, "length of each phase in optimiser steps, instead of epochs", positive)

    def __post_init__(self) -> None:
        super().__post_init__()
        require((self.epochs is None) != (self.num_steps is None), "epochs", self.epochs, "set, or num_steps, not both")

    def rules(self) -> dict[str, str]:
        """The settings that are checkpoint selection rules, with their values."""
        return {}

    def learning_rate_factor(self) -> Callable[[int, int], float]:
        """The learning-rate schedule of a phase of the configured length, for `Phase.learning_rate_factor`."""
        return lambda step, steps_per_epoch: 1.0

    def needs_start(self) -> str | None:
        """The setting because of which the run must start from the weights of another, if there is one."""
        return None

    def without_effect(self) -> dict[str, tuple[str, ...]]:
        """Settings that have no effect because of others: "hand_over=None" -> their names."""
        return {}


@dataclass(frozen=True, kw_only=True)
class SampleNotes:
    """A method's values for each training sample, [N] each; None for those it does not compute.

    `weight`, float: the sample's weight in the debiased loss, NaN before it has been in a batch; `conflicting`, bool:
    whether the method considers it bias-conflicting; `kept`, bool: whether it is selected as bias-aligned; `votes`,
    integers: how many biased models consider it bias-aligned.
    """

    weight: Tensor | None = None
    conflicting: Tensor | None = None
    kept: Tensor | None = None
    votes: Tensor | None = None


class Method(nn.Module):
    """Base class: networks and per-sample state are submodules and buffers, so `state_dict` is complete."""

    Config: ClassVar[type[MethodConfig]]
    SEARCH: ClassVar[Mapping[str, SearchRange]] = {}  # the searched hyper-parameters and their ranges
    RECIPES: ClassVar[Recipes]
    UNPUBLISHED: ClassVar[Mapping[str, Recipe]]  # ours for other data, by kind of image (`datasets.base.KINDS`)
    PUBLISHED: ClassVar[Mapping[str, Any]] = {}  # hyper-parameters of the authors' checkpoint selection
    WITHOUT_VALID: ClassVar[Mapping[str, Any]] = {}  # hyper-parameters for data without validation images

    # what a method requires and supports, verified by `tests/methods/test_contract.py`
    needs_bias: ClassVar[bool] = False  # bias labels, in the task and in batches
    needs_valid_bias: ClassVar[bool] = False  # bias labels of the validation images, in `Phase.begin`
    starts_from_classifier: ClassVar[bool] = False  # `start_from` is a run of any method
    infers_groups: ClassVar[bool] = False  # of the validation images, for the rule `best_valid_inferred`
    needs_whole_batch: ClassVar[bool] = False  # the loss is not a mean of per-sample losses
    can_be_stacked: ClassVar[bool] = True  # in at least one phase, a `Descent`, several runs can be trained as one
    can_be_captured: ClassVar[bool] = True  # the same steps can be captured as CUDA graphs, with fused optimisers

    # name prefixes in `state_dict` of per-sample state, which predictions do not depend on
    SAMPLE_STATE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        super().__init__()
        self.config = config

    def phases(self) -> Sequence[Phase]:
        """The phases in order; the prediction of the last one is the method's."""
        raise NotImplementedError

    @classmethod
    def labelled_splits(cls) -> list[str]:
        """The splits whose bias labels the method is trained with."""
        return [name for name, needed in (("train", cls.needs_bias), ("valid", cls.needs_valid_bias)) if needed]

    @classmethod
    def search_space(cls, data: Mapping[str, Any]) -> Mapping[str, SearchRange]:
        """The range of each searched hyper-parameter on data with the settings `data`: `SEARCH`, unless it depends on
        the data."""
        return cls.SEARCH

    def predict(self, image: Tensor) -> Tensor:
        """Logits [B, num_classes] of the trained classifier for images [B, C, H, W]: the last phase's first branch.

        A method with several branches overrides it, to compute none of the others.
        """
        phase = self.phases()[-1]
        return next(iter(phase.logits(image).values()))

    def sample_notes(self) -> SampleNotes:
        """The current values to record for each training sample; called in evaluations only."""
        return SampleNotes()

    def inferred_groups(self) -> Tensor | None:
        """The group that the method has inferred for each validation image, int64 [N]; None before that, or if it
        infers none. Called in evaluations only."""
        return None

    def phase(self, name: str, *, losses: Losses | None = None, **settings: Any) -> Phase:
        """Build a phase from `settings`; its length and batches come from the hyper-parameters unless given.

        With `losses`, the update is the `Descent` on them with all of the phase's optimisers.
        """
        config = self.config
        common: dict[str, Any] = {
            "batch_size": config.batch_size,
            "epochs": config.epochs,
            "num_steps": config.num_steps,
            "drop_last": getattr(config, "drop_last", False),
            "learning_rate_factor": config.learning_rate_factor(),
        }
        if losses is not None:
            common["update"] = Descent(losses, list(settings["optimizers"].values()))
        return Phase(name=name, **common | settings)

    def optimizer_of(self, *modules: nn.Module) -> Optimizer:
        """Build the configured optimiser over the trainable parameters of `modules`."""
        config = self.config
        return build_optimizer(config.optimizer, modules, config.learning_rate, config.weight_decay)

    # ---- weights without per-sample state

    def weights(self, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The part of `state` (None: of `state_dict`) that predictions depend on: all but `SAMPLE_STATE`."""
        state = self.state_dict() if state is None else state
        return {name: tensor for name, tensor in state.items() if not name.startswith(self.SAMPLE_STATE)}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load the `weights` of a run with any number of training images; `SAMPLE_STATE` in older files is ignored.

        Raises `RuntimeError` if the weights do not fit.
        """
        own = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(self.SAMPLE_STATE)}
        self.load_state_dict(own | self.weights(state))
