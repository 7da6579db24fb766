"""Vanilla & Biased: a network and one with a small receptive field, side by side (Bahng et al., ICML 2020, Table 1).

The target network f and the biased network g are trained independently with cross-entropy. They are the baselines of
ReBias, and the base of its implementation and those of RUBi and LearnedMixin.

Deviations from the authors' code:
- One biased network; their code supports several, but none of their settings uses more than one.
- One forward pass of f per batch; their code does two, so its running batch-norm statistics, which only evaluation
  uses, are updated twice as often. The trained weights are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.core.settings import not_negative, setting
from debiaslab.methods.base import Method, Task
from debiaslab.methods.phase import Batch, Phase, descend
from debiaslab.methods.published import ANY_OF_BAHNG, BAHNG, OWN_PAIRS
from debiaslab.methods.ranges import LEARNING_RATE, WEIGHT_DECAY
from debiaslab.methods.recipes import Recipe, merge, name_recipes, stand_ins
from debiaslab.methods.schedules import ScheduledConfig
from debiaslab.models import Classifier, Networks


class Outputs(NamedTuple):
    """A network's outputs for a batch: feature map [B, ...], pooled features [B, F], logits [B, num_classes]."""

    feature_map: Tensor
    features: Tensor
    logits: Tensor

    def detach(self) -> "Outputs":
        return Outputs(*(output.detach() for output in self))


def outputs_of(network: Classifier, image: Tensor) -> Outputs:
    feature_map = network.encoder.feature_map(image)
    features = network.encoder.pool(feature_map)
    return Outputs(feature_map, features, network.head(features))


class VanillaBiased(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(ScheduledConfig):
        n_g_update: int = setting(1, "updates of g per batch, before that of f", not_negative)

    SEARCH = {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}

    RECIPES = merge(
        {
            "digits": {
                "debiaslab": Recipe(
                    source="small networks and few images, to see the method run, not to see it debias",
                    model="simple_conv",
                    model_hparams={"widths": [8, 8], "f_kernel": 5},
                    hparams={"learning_rate": 0.01, "batch_size": 64, "epochs": 20},
                )
            }
        },
        name_recipes("bahng2020", BAHNG),
        name_recipes("debiaslab", OWN_PAIRS),
    )
    UNPUBLISHED = stand_ins(ANY_OF_BAHNG)

    can_be_stacked = can_be_captured = False  # f and g are updated in turn

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.f, self.g = networks.classifier("f"), networks.classifier("g")
        self.f_optimizer, self.g_optimizer = self.optimizer_of(self.f), self.optimizer_of(self.g)

    def phases(self) -> Sequence[Phase]:
        g_optimizers = {"g": self.g_optimizer} if self.config.n_g_update else {}
        return [
            self.phase(
                "train",
                update=self.update,
                logits=lambda image: {"target": self.f(image), "biased": self.g(image)},
                features=lambda image: {"target": self.f.encoder(image), "biased": self.g.encoder(image)},
                training=[self.f, self.g],
                optimizers={"f": self.f_optimizer, **g_optimizers},
            )
        ]

    def predict(self, image: Tensor) -> Tensor:
        logits: Tensor = self.f(image)
        return logits

    def update(self, batch: Batch) -> dict[str, Tensor]:
        f = outputs_of(self.f, batch.image)
        scalars = {}
        for _ in range(self.config.n_g_update):
            g_loss = self.g_loss(outputs_of(self.g, batch.image), f.detach(), batch)
            descend(g_loss, self.g_optimizer)
            scalars["biased"] = g_loss.detach()
        losses = self.f_losses(f, batch)
        descend(losses["loss"], self.f_optimizer)
        return {name: loss.detach() for name, loss in losses.items()} | scalars

    def g_loss(self, g: Outputs, f: Outputs, batch: Batch) -> Tensor:
        """The loss of g; f is constant."""
        return cross_entropy(g.logits, batch.target)

    def f_losses(self, f: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The loss of f, as `loss`, and its terms."""
        return {"loss": cross_entropy(f.logits, batch.target)}

    @torch.no_grad()
    def g_outputs(self, image: Tensor) -> Outputs:
        """The current outputs of g, as constants for the loss of f."""
        return outputs_of(self.g, image)
