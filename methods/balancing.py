"""Balanced training: ERM in which all classes, or all groups, are equally frequent (Idrissi et al., CLeaR 2022,
arXiv:2110.14503, "Simple data balancing achieves competitive worst-group-accuracy").

A group is a (target, bias) pair. `rwy` and `rwg` draw images with replacement, with a probability proportional to one
over the size of the class or group. `suby` and `subg` train on one random subset, drawn before training, with as many
images of each class or group as the smallest one has. `rwg` and `subg` use the bias labels of the training images.

Deviations from the authors' code:
- `rwg` ignores groups without training images, and `subg` refuses them; in their code they end in errors of others.
- The settings are those of ERM on the same data. The authors search them, by worst-group accuracy on validation images.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.randomness import torch_generator
from debiaslab.methods.base import Task
from debiaslab.methods.erm import ERM
from debiaslab.methods.phase import Phase
from debiaslab.methods.published import AS_ERM, AS_ERM_ELSEWHERE, OWN_IMAGES
from debiaslab.methods.recipes import name_recipes
from debiaslab.models import Networks


class ClassWeights(ERM):
    """`rwy`: epochs of draws with replacement in which all classes are equally frequent."""

    RECIPES = AS_ERM
    UNPUBLISHED = AS_ERM_ELSEWHERE

    def __init__(self, config: ERM.Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.weight = one_over_size(task.train_target)

    def phases(self) -> Sequence[Phase]:
        return [replace(phase, sampling_weights=lambda: self.weight) for phase in super().phases()]


class GroupWeights(ClassWeights):
    """`rwg`: epochs of draws with replacement in which all groups are equally frequent."""

    needs_bias = True

    def __init__(self, config: ERM.Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.weight = one_over_size(task.train_groups())


class ClassSubset(ERM):
    """`suby`: a subset with the same number of images of each class."""

    RECIPES = AS_ERM
    UNPUBLISHED = AS_ERM_ELSEWHERE

    def __init__(self, config: ERM.Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.subset = balanced_subset(task.train_target, task.num_classes, task.seed)

    def phases(self) -> Sequence[Phase]:
        return [replace(phase, positions=lambda: self.subset) for phase in super().phases()]


class GroupSubset(ClassSubset):
    """`subg`: a subset with the same number of images of each group.

    Raises `UserError` if there are groups without training images.
    """

    RECIPES = name_recipes("debiaslab", OWN_IMAGES)  # the digits have groups without images

    needs_bias = True

    def __init__(self, config: ERM.Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        if task.train_bias is not None:
            require_all_groups(task)
            self.subset = balanced_subset(task.train_groups(), task.num_classes * task.num_biases, task.seed)


def one_over_size(group: Tensor) -> Tensor:
    """For samples in the groups int64 [N], one over the size of the group of each, float64 [N]."""
    return 1 / group.bincount().double()[group]


def balanced_subset(group: Tensor, num_groups: int, seed: int, *use: str) -> Tensor:
    """The positions int64 [M] of a random subset of samples in the groups int64 [N], with as many of each of the
    `num_groups` groups as the smallest has; `use` names what it is for."""
    order = torch.randperm(len(group), generator=torch_generator(seed, "balanced subset", *use))
    size = int(group.bincount(minlength=num_groups).min())
    return torch.cat([order[group[order] == number][:size] for number in range(num_groups)]).sort().values


def require_all_groups(task: Task) -> None:
    empty = (task.group_counts() == 0).nonzero().tolist()
    if empty:
        target, bias = empty[0]
        raise UserError(
            f"method subg needs training images in all {task.group_counts().numel()} (target, bias) groups, and"
            f" {len(empty)} of them have none, such as target {target} with bias {bias}; use method=rwg or"
            " method=group_dro"
        )
