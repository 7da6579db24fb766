"""Accuracy of every branch on a split, in one pass on the split's device."""

from collections.abc import Callable

import torch
from torch import Tensor

from datasets import Split
from training.metrics import GroupCounts

CHUNK = 2_000  # images per forward pass


def as_input(images: Tensor) -> Tensor:
    """Images uint8 [B, C, H, W] as float32 in [0, 1]."""
    return images.float().div_(255)


@torch.no_grad()
def count_groups(
    logits: Callable[[Tensor], dict[str, Tensor]], split: Split, aligned: Tensor
) -> dict[str, GroupCounts]:
    """The group counts of each branch that `logits` returns. `aligned` bool [num_classes, num_biases].

    The networks must be in eval mode. The host waits for the device once, at the end.
    """
    num_groups = aligned.numel()
    group = split.target * aligned.shape[1] + split.bias
    hits: dict[str, list[Tensor]] = {}
    for start in range(0, len(split), CHUNK):
        part = slice(start, start + CHUNK)
        for branch, values in logits(as_input(split.images[part])).items():
            hits.setdefault(branch, []).append(values.argmax(dim=1) == split.target[part])
    correct = [torch.bincount(group[torch.cat(hit)], minlength=num_groups) for hit in hits.values()]
    counts = torch.stack([torch.bincount(group, minlength=num_groups), *correct]).cpu()
    total, *per_branch = counts.view(-1, *aligned.shape).numpy()
    pairs = zip(hits, per_branch, strict=True)
    return {branch: GroupCounts(correct, total, aligned.numpy()) for branch, correct in pairs}
