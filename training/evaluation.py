"""Accuracy of every branch on a split, in one pass on the split's device."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from datasets import Normalization, Split
from training.metrics import GroupCounts

CHUNK = 2_000  # images per forward pass


def as_input(images: Tensor, normalize: Normalization | None = None) -> Tensor:
    """Images uint8 [B, C, H, W] as float32 in [0, 1], less the mean and divided by the standard deviation, if given."""
    scaled = images.float().div_(255)
    if normalize is None:
        return scaled
    mean, std = _per_channel(normalize, images.device)
    return scaled.sub_(mean).div_(std)


@lru_cache(maxsize=8)
def _per_channel(normalize: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    """float32 [C, 1, 1] each, kept on the device."""
    mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in normalize)
    return mean, std


@torch.no_grad()
def count_groups(
    logits: Callable[[Tensor], dict[str, Tensor]], split: Split, aligned: Tensor, normalize: Normalization | None = None
) -> dict[str, GroupCounts]:
    """The group counts of each branch that `logits` returns. `aligned` bool [num_classes, num_biases]; `normalize` is
    that of the data set.

    The networks must be in eval mode. The host waits for the device once, at the end.
    """
    num_groups = aligned.numel()
    group = split.target * aligned.shape[1] + split.bias
    hits: dict[str, list[Tensor]] = {}
    for start in range(0, len(split), CHUNK):
        part = slice(start, start + CHUNK)
        for branch, values in logits(as_input(split.images[part], normalize)).items():
            hits.setdefault(branch, []).append(values.argmax(dim=1) == split.target[part])
    correct = [torch.bincount(group[torch.cat(hit)], minlength=num_groups) for hit in hits.values()]
    counts = torch.stack([torch.bincount(group, minlength=num_groups), *correct]).cpu()
    total, *per_branch = counts.view(-1, *aligned.shape).numpy()
    pairs = zip(hits, per_branch, strict=True)
    return {branch: GroupCounts(correct, total, aligned.numpy()) for branch, correct in pairs}
