"""Learning-rate schedules, as functions of the phase's step alone."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, cos, pi

from debiaslab.core.settings import choice, positive, require, setting
from debiaslab.methods.base import MethodConfig

SCHEDULES = ("constant", "step", "cosine")


@dataclass(frozen=True, kw_only=True)
class ScheduledConfig(MethodConfig):
    """Hyper-parameters of a method with a learning-rate schedule."""

    lr_schedule: str = setting(
        "constant",
        "constant; step: multiplied by lr_decay at intervals; cosine: annealed to 0, updated once per epoch",
        choice(SCHEDULES),
    )
    lr_decay: float = setting(0.1, "step: decay factor", positive)
    lr_decay_epochs: int | None = setting(None, "step: epochs between decays", positive, part="epochs")
    lr_decay_steps: int | None = setting(
        None, "step: optimiser steps between decays, instead of epochs", positive, part="steps"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        epochs, steps = self.lr_decay_epochs, self.lr_decay_steps
        one_length = (epochs is None) != (steps is None)
        allowed = "set for lr_schedule=step, or lr_decay_steps, not both"
        require(self.lr_schedule != "step" or one_length, "lr_decay_epochs", epochs, allowed)

    def without_effect(self) -> dict[str, tuple[str, ...]]:
        decay = ("lr_decay", "lr_decay_epochs", "lr_decay_steps")
        own = {} if self.lr_schedule == "step" else {f"lr_schedule={self.lr_schedule}": decay}
        return super().without_effect() | own

    def learning_rate_factor(self) -> Callable[[int, int], float]:
        """The learning-rate schedule of a phase of the configured length, for `Phase.learning_rate_factor`."""
        return {"constant": lambda step, steps_per_epoch: 1.0, "step": self._step, "cosine": self._cosine}[
            self.lr_schedule
        ]

    def _step(self, step: int, steps_per_epoch: int) -> float:
        if self.lr_decay_steps is not None:
            return self.lr_decay ** (step // self.lr_decay_steps)
        assert self.lr_decay_epochs is not None
        return self.lr_decay ** (step // (self.lr_decay_epochs * steps_per_epoch))

    def _cosine(self, step: int, steps_per_epoch: int) -> float:
        num_epochs = ceil(self.num_steps / steps_per_epoch) if self.num_steps is not None else self.epochs
        assert num_epochs is not None
        return 0.5 * (1 + cos(pi * (step // steps_per_epoch) / num_epochs))
