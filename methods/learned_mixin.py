"""LearnedMixin+H (Clark et al., EMNLP 2019), with the biased network of ReBias (Bahng et al., ICML 2020).

The biased network g is trained first and then kept fixed. The target network f is trained in an ensemble with it: the
logits of g, multiplied by a factor that f predicts for each image, are added to those of f. The entropy of g's
contribution is penalised, so that the factor does not vanish.

Deviations from the authors' (ReBias's) code, in addition to those of `vanilla_biased`:
- The head h that predicts the factor is trained with the optimiser of f, as the method defines it. Their code intends
  this, but h is in none of its optimisers and keeps its random weights; `train_head=False` reproduces that.
- Their code multiplies the logits of g in place; ours does not.
As in their code, g stays in train mode after its training: its logits are computed with batch statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from debiaslab.core.settings import not_negative, positive, require, setting
from debiaslab.methods.base import Task
from debiaslab.methods.declarations import outer_loss_weight, train_head_setting
from debiaslab.methods.phase import Batch, Descent, Phase
from debiaslab.methods.published import BAHNG, OWN_PAIRS
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge, name_recipes
from debiaslab.methods.vanilla_biased import Outputs, VanillaBiased
from debiaslab.models import Networks


class LearnedMixin(VanillaBiased):
    @dataclass(frozen=True, kw_only=True)
    class Config(VanillaBiased.Config):
        n_g_update: int = setting(0, "updates of g per batch; 0: g stays as pretrained", not_negative)
        pretrain_epochs: int | None = setting(5, "length of the pretraining of g", positive, part="epochs")
        pretrain_steps: int | None = setting(
            None, "length of the pretraining of g in optimiser steps, instead of epochs", positive, part="steps"
        )
        f_lambda_outer: float = outer_loss_weight()
        entropy_weight: float = setting(0.36, "weight of the entropy of g's contribution", not_negative)
        train_head: bool = train_head_setting()

        def __post_init__(self) -> None:
            super().__post_init__()
            epochs, steps = self.pretrain_epochs, self.pretrain_steps
            require((epochs is None) != (steps is None), "pretrain_epochs", epochs, "set, or pretrain_steps, not both")

    SEARCH = {"learning_rate": LEARNING_RATE, "entropy_weight": SearchRange()}

    RECIPES = merge(
        VanillaBiased.RECIPES,
        name_recipes(
            "bahng2020", {name: BAHNG[name] for name in ("imagenet9", "kinetics10", "kinetics50")}, pretrain_epochs=30
        ),
        name_recipes("debiaslab", OWN_PAIRS, pretrain_epochs=None, pretrain_steps=500),
    )
    UNPUBLISHED = {
        **VanillaBiased.UNPUBLISHED,
        "photographs": VanillaBiased.UNPUBLISHED["photographs"].with_hparams(pretrain_epochs=None, pretrain_steps=500),
    }

    can_be_stacked = can_be_captured = True  # the pretraining of g

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.head = networks.head("head", self.f.encoder.feature_dim, 1).requires_grad_(config.train_head)
        if config.train_head:
            self.f_optimizer = self.optimizer_of(self.f, self.head)

    def phases(self) -> Sequence[Phase]:
        train = super().phases()[0]
        pretrain = replace(
            train,
            name="pretrain",
            update=Descent(self.pretrain_losses, [self.g_optimizer]),
            logits=lambda image: {"biased": self.g(image)},
            features=lambda image: {"biased": self.g.encoder(image)},
            training=[self.g],
            optimizers={"g": self.g_optimizer},
            epochs=self.config.pretrain_epochs,
            num_steps=self.config.pretrain_steps,
            learning_rate_factor=lambda step, steps_per_epoch: 1.0,
        )
        return [pretrain, train]

    def pretrain_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": cross_entropy(self.g(batch.image), batch.target)}

    def f_losses(self, f: Outputs, batch: Batch) -> dict[str, Tensor]:
        factor = softplus(self.head(f.features))  # [B, 1]
        contribution = factor * self.g_outputs(batch.image).logits
        ensemble = cross_entropy(f.logits + contribution, batch.target)
        entropy = mean_entropy(contribution)
        loss = self.config.f_lambda_outer * (ensemble + self.config.entropy_weight * entropy)
        return {"loss": loss, "ensemble": ensemble, "entropy": entropy}


def mean_entropy(logits: Tensor) -> Tensor:
    """The entropy of softmax(logits) in nats, averaged over the batch, for logits [B, C]; a scalar."""
    log_probabilities = logits.log_softmax(dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()
