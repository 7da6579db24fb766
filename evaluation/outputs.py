"""Compute features or predictions for selected images, outside of training."""

from bisect import bisect_right
from collections.abc import Callable

import torch
from torch import Tensor

from debiaslab.core.prefetching import prefetch
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation.counting import chunk_size, view_draws


@torch.no_grad()
def outputs_at(
    index: Tensor, call: Callable[[Tensor], dict[str, Tensor]], split: Split, data: BiasedDataset, workers: int = 0
) -> dict[str, Tensor]:
    """Branch -> outputs [M, F] of `call` for the images at `index`, int64 [M], of a `split` of `data`.

    Outputs are averaged over the views of a sample. `workers` threads read images that are on file. The networks
    must be in eval mode.
    """
    found: dict[str, list[Tensor]] = {}

    def read(part: Tensor) -> Tensor:
        return split.read(part.repeat_interleave(split.views), view_draws(split, len(part)))

    parts = torch.split(index, max(1, chunk_size(split.image_shape) // split.views))
    for images in prefetch(read, parts, workers if split.reader is not None else 0):
        for branch, values in call(as_input(images.to(split.target.device), data.normalize)).items():
            found.setdefault(branch, []).append(values.view(-1, split.views, values.shape[1]).mean(dim=1))
    return {branch: torch.cat(values) for branch, values in found.items()}


def draw_stratified(split: Split, data: BiasedDataset, count: int, generator: torch.Generator) -> Tensor:
    """Sample about `count` images of `split`, as evenly from its groups as possible; returns sorted indices int64.

    At least one image of each group that is not empty. On the CPU.
    """
    group = data.groups(split).cpu()
    order = torch.randperm(len(group), generator=generator)
    sizes = torch.bincount(group)
    by_group = order[group[order].argsort(stable=True)]
    rank = torch.arange(len(group)) - (sizes.cumsum(0) - sizes)[group[by_group]]  # rank of each image within its group
    share = bisect_right(range(len(group) + 1), count, key=lambda most: int(sizes.clamp(max=most).sum())) - 1
    return by_group[rank < max(1, share)].sort().values
