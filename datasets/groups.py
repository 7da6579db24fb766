"""(target, bias) groups: which pairs are the usual ones, and a share of every group."""

from dataclasses import replace

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets.base import BiasedDataset


def usual_pairs(target: Tensor, bias: Tensor, num_classes: int, num_biases: int) -> Tensor:
    """bool [num_classes, num_biases]: for each target class the bias that goes with it, from labels int64 [N].

    It is the bias whose number of images is the most above what it would be if the bias did not depend on the target
    (several biases in a tie). That need not be the most frequent one: in CelebA most people who are not blond are
    women, but fewer than among all people, so that men are the usual ones. A class has no usual bias if none is above.
    """
    counts = torch.bincount(target * num_biases + bias, minlength=num_classes * num_biases)
    counts = counts.view(num_classes, num_biases)
    excess = counts * counts.sum() - counts.sum(dim=1, keepdim=True) * counts.sum(dim=0, keepdim=True)
    return (excess > 0) & (excess == excess.amax(dim=1, keepdim=True))


def share_of_every_class(target: Tensor, bias: Tensor, share: float, seed: int) -> Tensor:
    """`share_of_every_group`, of the aligned and of the conflicting samples of each class; bias c is that of class c.

    Where a class has a conflicting sample or two of each bias, no (target, bias) group could spare one.
    """
    return share_of_every_group(2 * target + (target != bias), share, seed)


def share_of_every_group(group: Tensor, share: float, seed: int) -> Tensor:
    """bool [N], True for `share` of the samples of every group (rounded down), chosen at random.

    `group` int64 [N] numbers the groups. Of a group of three or more samples at least one is chosen.
    """
    chosen = torch.zeros(len(group), dtype=torch.bool)
    for label in sorted(set(group.tolist())):
        members = (group == label).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=torch_generator(seed, "hold out", label))
        size = max(int(len(members) * share), len(members) >= 3)
        chosen[members[order[:size]]] = True
    return chosen


def with_iid_validation(data: BiasedDataset, share: float, seed: int) -> BiasedDataset:
    """`data`, with validation images of the distribution of the training images: a `share` of those of every class.

    They are drawn at random without a look at their bias, and leave training; other validation images are left out.
    Raises `UserError` if no class has images enough.
    """
    held_out = share_of_every_group(data.train.target, share, seed)
    if not bool(held_out.any()) or bool(held_out.all()):
        raise UserError(f"data.protocol=iid: {data.name} has too few training images to keep some for validation")
    return replace(
        data,
        train=data.train.select((~held_out).nonzero()[:, 0]),
        valid=data.train.select(held_out.nonzero()[:, 0]),
        fingerprint=f"{data.fingerprint}-iid{seed}",
    )
