"""The contract between a method and the training loop.

A method owns its networks, its optimisers and its per-sample state, and yields the phases it is trained in. The loop
(`training/loop.py`) owns everything else: batches, evaluation, selection of weights, checkpoints, resume, records.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from debiaslab.core.settings import Settings, not_negative, positive, require, setting
from debiaslab.methods.optimizers import OPTIMIZER, OPTIMIZERS, build_optimizer
from debiaslab.methods.phase import Descent, Losses, Phase
from debiaslab.methods.recipes import Recipe, Recipes
from debiaslab.models import Networks


@dataclass(frozen=True)
class Task:
    """What a method may know of its task: the training targets int64 [N], for per-sample state, and the run's seed."""

    num_classes: int
    train_target: Tensor
    seed: int


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Settings):
    """Hyper-parameters that every method has."""

    optimizer: str = setting("adam", ", ".join(OPTIMIZERS), OPTIMIZER)
    learning_rate: float = setting(1e-3, "initial step size of the optimiser", positive)
    weight_decay: float = setting(0.0, "of the optimiser", not_negative)
    batch_size: int = setting(256, "images in a training batch", positive)
    epochs: int | None = setting(100, "length of each phase, unless the method has a setting for the phase", positive)
    num_steps: int | None = setting(None, "length of each phase in optimiser steps, instead of epochs", positive)

    def __post_init__(self) -> None:
        super().__post_init__()
        require((self.epochs is None) != (self.num_steps is None), "epochs", self.epochs, "set, or num_steps, not both")

    def rules(self) -> dict[str, str]:
        """The selection rules among the settings, by the setting's name."""
        return {}

    def learning_rate_factor(self) -> Callable[[int, int], float]:
        """The schedule of a phase as long as the settings say, for `Phase.learning_rate_factor`."""
        return lambda step, steps_per_epoch: 1.0

    def without_effect(self) -> dict[str, tuple[str, ...]]:
        """Settings that are switched off by others: "hand_over=None" -> their names."""
        return {}


@dataclass(frozen=True, kw_only=True)
class SampleNotes:
    """What a method says of each training sample, [N] each; None for what it does not say.

    `weight`, float: in the debiased loss, not-a-number for a sample that no batch has contained yet; `conflicting`,
    bool: whether it is taken for bias-conflicting; `kept`, bool: whether it is selected as bias-aligned; `votes`,
    integers: how many biased models take it for bias-aligned.
    """

    weight: Tensor | None = None
    conflicting: Tensor | None = None
    kept: Tensor | None = None
    votes: Tensor | None = None


class Method(nn.Module):
    """Base of all methods: networks and per-sample state are submodules and buffers, so `state_dict` is complete."""

    Config: ClassVar[type[MethodConfig]]
    RECIPES: ClassVar[Recipes]
    UNPUBLISHED: ClassVar[Mapping[str, Recipe]]  # ours for other data, by the kind of their images (`datasets.base`)
    PUBLISHED: ClassVar[Mapping[str, Any]] = {}  # hyper-parameters of the authors' own selection, for their protocol
    WITHOUT_VALID: ClassVar[Mapping[str, Any]] = {}  # hyper-parameters for data without validation images

    # what a method needs and can; `tests/methods/test_contract.py` holds it to that
    needs_bias: ClassVar[bool] = False  # batches with bias labels
    needs_whole_batch: ClassVar[bool] = False  # its loss is no mean of losses over parts of the batch
    can_be_stacked: ClassVar[bool] = True  # runs can take the steps of at least one phase as one: a `Descent`
    can_be_captured: ClassVar[bool] = True  # the same steps can be captured as CUDA graphs, with fused optimisers

    # beginnings of names in `state_dict`: what has a value for each training sample, and no effect on predictions
    SAMPLE_STATE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        super().__init__()
        self.config = config

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
        """Logits [B, num_classes] of the trained classifier for images [B, C, H, W]: the last phase's first branch.

        A method with several branches overrides it, to compute none of the others.
        """
        phase = self.phases()[-1]
        return next(iter(phase.logits(image).values()))

    def sample_notes(self) -> SampleNotes:
        """What is to be recorded about the training samples, as of now; called in evaluations only."""
        return SampleNotes()

    def phase(self, name: str, *, losses: Losses | None = None, **settings: Any) -> Phase:
        """A phase with these `settings`; all others of its length and batches are those of the hyper-parameters.

        With `losses`, its update is the `Descent` of all its optimisers.
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
        """The optimiser of the trainable parameters of `modules` that the hyper-parameters say."""
        config = self.config
        return build_optimizer(config.optimizer, modules, config.learning_rate, config.weight_decay)

    # ---- weights without the state of training samples

    def weights(self, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """What predictions depend on: `state` (None: `state_dict`) without `SAMPLE_STATE`."""
        state = self.state_dict() if state is None else state
        return {name: tensor for name, tensor in state.items() if not name.startswith(self.SAMPLE_STATE)}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load `weights` of a run on any number of training images; older files have its `SAMPLE_STATE`, too.

        Raises `RuntimeError` if the weights do not fit.
        """
        own = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(self.SAMPLE_STATE)}
        self.load_state_dict(own | self.weights(state))
