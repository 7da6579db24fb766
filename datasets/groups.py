"""(target, bias) groups: find the bias-aligned pairs, and sample a fraction of each group."""

from dataclasses import replace

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets.base import BiasedDataset


def usual_pairs(target: Tensor, bias: Tensor, num_classes: int, num_biases: int) -> Tensor:
    """bool [num_classes, num_biases]: the bias-aligned pairs, estimated from labels int64 [N].

    A class is aligned with the bias whose count exceeds its expectation under independence of target and bias the most
    (or with several in a tie). That need not be the most frequent one: in CelebA most people who are not blond are
    women, but the proportion is lower than among all people, so that class is aligned with men. A class has no aligned
    bias if no count exceeds its expectation.
    """
    counts = torch.bincount(target * num_biases + bias, minlength=num_classes * num_biases)
    counts = counts.view(num_classes, num_biases)
    excess = counts * counts.sum() - counts.sum(dim=1, keepdim=True) * counts.sum(dim=0, keepdim=True)
    return (excess > 0) & (excess == excess.amax(dim=1, keepdim=True))


def share_of_every_class(target: Tensor, bias: Tensor, share: float, seed: int) -> Tensor:
    """`share_of_every_group` for the aligned and the conflicting samples of each class; bias c is aligned with class c.

    For data with so few conflicting samples that no single (target, bias) group could spare one.
    """
    return share_of_every_group(2 * target + (target != bias), share, seed)


def share_of_every_group(group: Tensor, share: float, seed: int) -> Tensor:
    """bool [N], True for a random `share` of the samples of every group (rounded down).

    `group` int64 [N] are group indices. At least one sample of each group of three or more is chosen.
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
