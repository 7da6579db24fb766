"""Count the correct predictions of every branch on a split, in one pass on the split's device."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from debiaslab.core.prefetching import prefetch
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation.metrics import GroupCounts

MAX_CHUNK, MIN_CHUNK = 2_000, 64  # images per forward pass
CHUNK_VALUES = MAX_CHUNK * 3 * 32 * 32  # fewer images if they are larger than 32x32


def chunk_size(split: Split) -> int:
    """The number of images of `split` per forward pass in an evaluation."""
    return max(MIN_CHUNK, min(MAX_CHUNK, CHUNK_VALUES // prod(split.image_shape)))


@torch.no_grad()
def count_groups(
    logits: Callable[[Tensor], dict[str, Tensor]], split: Split, data: BiasedDataset, workers: int = 0
) -> dict[str, GroupCounts]:
    """Count correct predictions by group for each branch that `logits` returns, on a `split` of `data`.

    `workers` threads read images that are on file. A split without bias labels has one group per class. The networks
    must be in eval mode. Synchronises with the device once, at the end.
    """
    hits: dict[str, list[Tensor]] = {}
    size = max(1, chunk_size(split) // split.views)

    def read(start: int) -> Tensor:
        index = torch.arange(start, min(start + size, len(split)), device=split.images.device)
        return split.read(index.repeat_interleave(split.views), view_draws(split, len(index)))

    starts = range(0, len(split), size)
    chunks = prefetch(read, starts, workers if split.reader is not None else 0)
    for start, images in zip(starts, chunks, strict=True):
        target = split.target[start : start + size]
        for branch, values in logits(as_input(images.to(target.device), data.normalize)).items():
            hits.setdefault(branch, []).append(_over_views(values, split.views).argmax(dim=1) == target)
    return _counted(hits, split, data)


def correct_counts(
    logits: Callable[[Tensor], dict[str, Tensor]], data: BiasedDataset, workers: int = 0
) -> dict[str, dict[str, list[list[int]]]]:
    """The number of correctly classified images per group: split -> branch -> [num_classes][num_biases].

    For all evaluation splits of `data`; otherwise as `count_groups`.
    """
    return {
        name: {branch: counts.correct.tolist() for branch, counts in groups.items()}
        for name, split in data.evaluation_splits().items()
        for groups in [count_groups(logits, split, data, workers)]
    }


def view_draws(split: Split, size: int) -> Tensor | None:
    """The draws for evenly spaced views of `size` images, grouped by image; None if there is a single view."""
    if split.reader is None or split.views == 1:
        return None
    positions = torch.arange(split.views) / split.views
    return positions.repeat(size)[:, None].expand(-1, split.reader.num_draws)


def _over_views(logits: Tensor, views: int) -> Tensor:
    """The scores of images, [B, num_classes]: the logits or, for several views, the mean of the probabilities."""
    return logits if views == 1 else logits.softmax(dim=1).view(-1, views, logits.shape[1]).mean(dim=1)


def _counted(hits: dict[str, list[Tensor]], split: Split, data: BiasedDataset) -> dict[str, GroupCounts]:
    shape, group = data.group_shape(split), data.groups(split)
    correct = [torch.bincount(group[torch.cat(hit)], minlength=shape.numel()) for hit in hits.values()]
    counts = torch.stack([torch.bincount(group, minlength=shape.numel()), *correct]).cpu()
    total, *per_branch = counts.view(-1, *shape).numpy()
    aligned = data.aligned_groups() if split.has_bias else torch.zeros(shape, dtype=torch.bool)
    return {
        branch: GroupCounts(correct, total, aligned.numpy(), data.attribute_sizes, data.min_group)
        for branch, correct in zip(hits, per_branch, strict=True)
    }
