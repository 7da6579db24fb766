"""Group DRO: distributionally robust optimisation over groups (Sagawa et al., ICLR 2020, arXiv:1911.08731).

A group is a (target, bias) pair. The loss is a mean of the groups' losses, weighted by q, which grows exponentially for
the groups with the largest loss (algorithm 1). With `adjustment` C, a group of n training images has C / sqrt(n) added
to its loss. It uses the bias labels of the training images.

Deviations from the authors' code:
- Groups without training images have weight 0. In their code they keep a share of q, which scales the loss.
- Their code ignores the adjustments unless all of them are above 0; ours is one number for all groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.core.settings import not_negative, setting
from debiaslab.methods.balancing import one_over_size
from debiaslab.methods.base import Task
from debiaslab.methods.erm import ERM
from debiaslab.methods.losses import membership
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import AS_ERM, AS_ERM_ELSEWHERE, SAGAWA
from debiaslab.methods.ranges import LEARNING_RATE, WEIGHT_DECAY, SearchRange
from debiaslab.methods.recipes import merge, name_recipes
from debiaslab.models import Networks


class GroupDRO(ERM):
    @dataclass(frozen=True, kw_only=True)
    class Config(ERM.Config):
        step_size: float = setting(0.01, "step size eta of the group weights, `robust_step_size`", not_negative)
        adjustment: float = setting(0.0, "C: a group of n images has C / sqrt(n) added to its loss", not_negative)
        reweight_groups: bool = setting(True, "draw images such that all groups are equally frequent")

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "step_size": SearchRange(text="log(1e-3, 1e-1)", source="SubpopBench and XRM, code"),
    }
    RECIPES = merge(AS_ERM, name_recipes("sagawa2020", SAGAWA))
    UNPUBLISHED = AS_ERM_ELSEWHERE

    SAMPLE_STATE: ClassVar[tuple[str, ...]] = ("group_weight",)
    needs_bias = True
    needs_whole_batch = True

    config: Config
    group_weight: Tensor  # q, float32 [num_classes * num_biases]
    penalty: Tensor  # C / sqrt(n) of each group

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.num_biases = task.num_biases
        counts = task.group_counts().flatten()
        self.register_buffer("group_weight", equal_weights(counts))
        self.register_buffer("penalty", config.adjustment * one_over_root(counts), persistent=False)
        self.weight = one_over_size(task.train_groups())

    def phases(self) -> Sequence[Phase]:
        if not self.config.reweight_groups:
            return super().phases()
        return [replace(phase, sampling_weights=lambda: self.weight) for phase in super().phases()]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.bias is not None
        losses = cross_entropy(self.classifier(batch.image), batch.target, reduction="none")
        group = batch.target * self.num_biases + batch.bias
        group_loss = group_means(losses, group, len(self.penalty)) + self.penalty
        with torch.no_grad():
            grown = self.group_weight * torch.exp(self.config.step_size * group_loss)
            self.group_weight.copy_(grown / grown.sum())
        return {"loss": (self.group_weight * group_loss).sum(), "cross_entropy": losses.mean()}


def equal_weights(counts: Tensor) -> Tensor:
    """Equal weights, of sum 1, of the groups that have images, float32 [G], for the sizes int64 [G]; 0 for others."""
    filled = (counts > 0).float()
    return filled / filled.sum().clamp(min=1)


def one_over_root(counts: Tensor) -> Tensor:
    """1 / sqrt(n) of groups of n images, float32 [G]; 1 for empty ones."""
    return counts.clamp(min=1).float().rsqrt()


def group_means(losses: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """The mean loss [num_groups] of each group, of losses [B] of samples in the groups int64 [B]; 0 for groups without
    samples."""
    members = membership(group, num_groups, losses)
    return losses @ members / members.sum(dim=0).clamp(min=1)
