"""Count the correct predictions of every branch on a split, in one pass on the split's device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from debiaslab.core import ranks
from debiaslab.core.prefetching import prefetch
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation.metrics import GroupCounts
from debiaslab.evaluation.outcomes import Outcomes, tabulate_outcomes

MAX_CHUNK, MIN_CHUNK = 2_000, 64  # images per forward pass
TINY = 1e-30  # least probability of which a logarithm is taken
CHUNK_VALUES = MAX_CHUNK * 3 * 32 * 32  # fewer images where they are larger than 32 x 32


def chunk_size(image_shape: Sequence[int]) -> int:
    """The number of images of this shape per forward pass in an evaluation."""
    return max(MIN_CHUNK, min(MAX_CHUNK, CHUNK_VALUES // prod(image_shape)))


@dataclass(frozen=True)
class Measured:
    """An evaluation of networks: for each split, the correct images of each branch, [num_classes][num_biases], and the
    outcomes of the first branch, as plain values; `inferred` as in `Evaluation`."""

    correct: dict[str, dict[str, list[list[int]]]]
    outcomes: dict[str, dict[str, Any]]
    inferred: dict[str, list[int]]


def measure_splits(
    logits: Callable[[Tensor], dict[str, Tensor]],
    data: BiasedDataset,
    workers: int = 0,
    inferred_groups: Tensor | None = None,
) -> Measured:
    """How the branches that `logits` returns do on all evaluation splits of `data`; else as `count_groups`.

    `inferred_groups`, int64 [N]: groups of the validation images in which the first branch is counted, too.
    """
    correct, outcomes, inferred = {}, {}, {}
    for name, split in data.evaluation_splits().items():
        hits, told = _predict(logits, split, data, workers)
        counts, found = _counted(hits, told, split, data)
        correct[name] = {branch: counted.correct.tolist() for branch, counted in counts.items()}
        outcomes[name] = found.as_dict()
        if name == "valid" and inferred_groups is not None:
            inferred = _count_inferred(next(iter(hits.values())), inferred_groups)
    return Measured(correct, outcomes, inferred)


def count_groups(
    logits: Callable[[Tensor], dict[str, Tensor]], split: Split, data: BiasedDataset, workers: int = 0
) -> dict[str, GroupCounts]:
    """Count correct predictions by group for each branch that `logits` returns, on a `split` of `data`.

    `workers` threads read images that are on file. A split without bias labels has one group per class. The networks
    must be in eval mode. Synchronises with the device once, at the end.
    """
    return measure_split(logits, split, data, workers)[0]


def measure_split(
    logits: Callable[[Tensor], dict[str, Tensor]], split: Split, data: BiasedDataset, workers: int = 0
) -> tuple[dict[str, GroupCounts], Outcomes]:
    """The same, and the outcomes of the first branch."""
    return _counted(*_predict(logits, split, data, workers), split, data)


@torch.no_grad()
def _predict(
    logits: Callable[[Tensor], dict[str, Tensor]], split: Split, data: BiasedDataset, workers: int
) -> tuple[dict[str, list[Tensor]], Tensor]:
    """Which images each branch predicts correctly, in chunks bool [B], and the outcomes of the first one, [3, N].

    If several processes train together (`core.ranks`), each computes some of the chunks.
    """
    sharing = ranks.active()
    hits: dict[str, list[Tensor]] = {}
    outcomes: list[Tensor] = []
    size = max(1, chunk_size(split.image_shape) // split.views)

    def read(start: int) -> Tensor:
        index = torch.arange(start, min(start + size, len(split)), device=split.images.device)
        return split.read(index.repeat_interleave(split.views), view_draws(split, len(index)))

    starts: Sequence[int] = range(0, len(split), size)
    if sharing is not None:  # the first chunk, if there is none for this process, shows which branches there are
        starts = [start for start in starts if sharing.is_own(start // size)] or starts[:1]
    chunks = prefetch(read, starts, workers if split.reader is not None else 0)
    for start, images in zip(starts, chunks, strict=True):
        target = split.target[start : start + size]
        with ranks.alone():
            branches = logits(as_input(images.to(target.device), data.normalize))
        for position, (branch, values) in enumerate(branches.items()):
            scores = _over_views(values, split.views)
            predicted = scores.argmax(dim=1)
            hits.setdefault(branch, []).append(predicted == target)
            if position == 0:
                outcomes.append(_outcomes_of(scores, predicted, target, split.views))
    if sharing is not None:
        own = [sharing.is_own(start // size) for start in starts]
        hits, outcomes = _of_all_processes(hits, outcomes, starts, own, len(split), sharing)
    return hits, torch.cat(outcomes, dim=1)


def _of_all_processes(
    hits: Mapping[str, Sequence[Tensor]],
    outcomes: Sequence[Tensor],
    starts: Sequence[int],
    is_own: Sequence[bool],
    count: int,
    sharing: ranks.Ranks,
) -> tuple[dict[str, list[Tensor]], list[Tensor]]:
    """Hits and outcomes of all `count` images, from those of the chunks that begin at `starts`, if they are own."""
    found = torch.zeros(len(hits) + 3, count, dtype=torch.float64, device=outcomes[0].device)
    for number, (start, own) in enumerate(zip(starts, is_own, strict=True)):
        if own:
            rows = torch.stack([of_branch[number] for of_branch in hits.values()])
            found[:, start : start + rows.shape[1]] = torch.cat([rows.double(), outcomes[number]])
    found = sharing.sum(found)
    return {branch: [row > 0] for branch, row in zip(hits, found, strict=False)}, [found[len(hits) :]]


def view_draws(split: Split, size: int) -> Tensor | None:
    """The draws for evenly spaced views of `size` images, grouped by image; None if there is a single view."""
    if split.reader is None or split.views == 1:
        return None
    positions = torch.arange(split.views) / split.views
    return positions.repeat(size)[:, None].expand(-1, split.reader.num_draws)


def _over_views(logits: Tensor, views: int) -> Tensor:
    """The scores of images, [B, num_classes]: the logits or, for several views, the mean of the probabilities."""
    return logits if views == 1 else logits.softmax(dim=1).view(-1, views, logits.shape[1]).mean(dim=1)


def _outcomes_of(scores: Tensor, predicted: Tensor, target: Tensor, views: int) -> Tensor:
    """float64 [3, B]: predicted classes, their probabilities, and -log of the targets' probabilities."""
    double = scores.double()
    log_probabilities = double.log_softmax(dim=1) if views == 1 else double.clamp_min(TINY).log()
    chosen = [log_probabilities.gather(1, index[:, None])[:, 0] for index in (predicted, target)]
    return torch.stack([predicted.double(), chosen[0].exp(), -chosen[1]])


def _count_inferred(hits: list[Tensor], group: Tensor) -> dict[str, list[int]]:
    """The numbers of correct images and of all in each `group`, int64 [N]."""
    size = int(group.max()) + 1
    counts = [torch.bincount(part, minlength=size).tolist() for part in (group[torch.cat(hits)], group)]
    return dict(zip(("correct", "total"), counts, strict=True))


def _counted(
    hits: dict[str, list[Tensor]], outcomes: Tensor, split: Split, data: BiasedDataset
) -> tuple[dict[str, GroupCounts], Outcomes]:
    shape, group = data.group_shape(split), data.groups(split)
    correct = [torch.bincount(group[torch.cat(hit)], minlength=shape.numel()) for hit in hits.values()]
    counts = torch.stack([torch.bincount(group, minlength=shape.numel()), *correct])
    everything = torch.cat([counts.double().flatten(), group.double(), outcomes.flatten()]).cpu()
    tables, groups, told = torch.split(everything, [counts.numel(), len(group), outcomes.numel()])
    total, *per_branch = tables.long().view(-1, *shape).numpy()
    aligned = data.aligned_groups() if split.has_bias else torch.zeros(shape, dtype=torch.bool)
    by_branch = {
        branch: GroupCounts(correct, total, aligned.numpy(), data.attribute_sizes, data.min_group)
        for branch, correct in zip(hits, per_branch, strict=True)
    }
    predicted, confidence, log_loss = told.view(3, -1).numpy()
    size = (shape[0], shape[1])
    found = tabulate_outcomes(
        groups.long().numpy(), size, predicted.astype("int64"), confidence, log_loss, aligned.numpy()
    )
    return by_branch, found
