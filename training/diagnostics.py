"""How well a method tells bias-conflicting training samples apart: for the record only, never used in training."""

from typing import Any

import torch
from torch import Tensor

from datasets import Split
from methods import Method

WEIGHT_ALIGNED, WEIGHT_CONFLICTING = "weight/aligned", "weight/conflicting"
PRECISION, RECALL = "conflicting/precision", "conflicting/recall"


@torch.no_grad()
def sample_diagnostics(method: Method, train: Split, aligned: Tensor) -> dict[str, float]:
    """What `method` makes of the samples of `train`, as of now; `aligned` bool [num_classes, num_biases].

    `WEIGHT_...`: mean sample weight on the aligned and on the conflicting samples, of those that have one already;
    `PRECISION` and `RECALL` of "this sample is conflicting". What the method does not have is left out, and means over
    no sample.
    """
    weights, taken = method.sample_weights(), method.taken_for_conflicting()
    conflicting = conflicting_samples(train, aligned)
    means: dict[str, Tensor] = {}
    if weights is not None:
        means[WEIGHT_ALIGNED] = weights[~conflicting].nanmean()
        means[WEIGHT_CONFLICTING] = weights[conflicting].nanmean()
    if taken is not None:
        means[PRECISION] = conflicting[taken].float().mean()
        means[RECALL] = taken[conflicting].float().mean()
    return {name: value for name, mean in means.items() if (value := float(mean)) == value}


def conflicting_samples(train: Split, aligned: Tensor) -> Tensor:
    """bool [N]: the samples that do not have the usual bias of their target."""
    return ~aligned.to(train.target.device)[train.target, train.bias]


def selection_report(kept: Tensor, train: Split, aligned: Tensor) -> dict[str, Any]:
    """How the selection `kept`, bool [N], of samples as bias-aligned agrees with the bias labels, and their indices.

    Precision and recall are those of "conflicting" for the samples that are not kept; None over no sample.
    """
    conflicting = conflicting_samples(train, aligned)
    found = int((~kept & conflicting).sum())
    return {
        "aligned": {"total": int((~conflicting).sum()), "kept": int((kept & ~conflicting).sum())},
        "conflicting": {"total": int(conflicting.sum()), "kept": int((kept & conflicting).sum())},
        "precision": found / int((~kept).sum()) if not bool(kept.all()) else None,
        "recall": found / int(conflicting.sum()) if bool(conflicting.any()) else None,
        "kept": kept.nonzero()[:, 0].tolist(),
    }
