"""RUBi: reducing unimodal biases (Cadene et al., NeurIPS 2019), with the biased network of ReBias (Bahng et al., 2020).

A linear head h on the features of the biased network g masks the logits of the target network f, so that f learns less
from samples that g classifies correctly. h also has a classification loss of its own; neither loss backpropagates
into g.

Deviations from the authors' (ReBias's) code, in addition to those of `vanilla_biased`:
- h is trained with the optimiser of f, as the method defines it. Their code intends this, but h is in none of its
  optimisers and keeps its random weights; `train_head=False` reproduces that.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.methods.base import Task
from debiaslab.methods.declarations import outer_loss_weight, train_head_setting
from debiaslab.methods.phase import Batch
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.vanilla_biased import Outputs, VanillaBiased
from debiaslab.models import Networks


class RUBi(VanillaBiased):
    @dataclass(frozen=True, kw_only=True)
    class Config(VanillaBiased.Config):
        f_lambda_outer: float = outer_loss_weight()
        train_head: bool = train_head_setting()

    SEARCH = {"learning_rate": LEARNING_RATE, "f_lambda_outer": SearchRange()}

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.head = networks.head("head", self.g.encoder.feature_dim).requires_grad_(config.train_head)
        if config.train_head:
            self.f_optimizer = self.optimizer_of(self.f, self.head)

    def f_losses(self, f: Outputs, batch: Batch) -> dict[str, Tensor]:
        mask_logits = self.head(self.g_outputs(batch.image).features)
        masked = cross_entropy(f.logits * mask_logits.sigmoid(), batch.target)
        head = cross_entropy(mask_logits, batch.target)
        return {"loss": self.config.f_lambda_outer * (masked + head), "masked": masked, "head": head}
