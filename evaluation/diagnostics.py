"""How well a method identifies bias-conflicting training samples: recorded only, never used in training."""

from typing import Any

import torch
from torch import Tensor

from debiaslab.datasets import BiasedDataset
from debiaslab.methods import SampleNotes

WEIGHT_ALIGNED, WEIGHT_CONFLICTING = "weight/aligned", "weight/conflicting"
SAMPLES = "samples.safetensors"  # file of a run's record with the result of `tabulate_samples`
PRECISION, RECALL = "conflicting/precision", "conflicting/recall"


@torch.no_grad()
def sample_diagnostics(notes: SampleNotes, data: BiasedDataset) -> dict[str, float]:
    """Compare a method's `notes` on the training samples with the bias labels; empty without labels.

    `WEIGHT_...`: mean sample weight of the aligned and of the conflicting samples that have a weight already;
    `PRECISION` and `RECALL` of detecting conflicting samples. Values that the method does not compute, and means
    over no samples, are left out.
    """
    weights, taken = notes.weight, notes.conflicting
    if not data.tells_conflicting():
        return {}
    conflicting = ~data.aligned_samples(data.train)
    means: dict[str, Tensor] = {}
    if weights is not None:
        means[WEIGHT_ALIGNED] = weights[~conflicting].nanmean()
        means[WEIGHT_CONFLICTING] = weights[conflicting].nanmean()
    if taken is not None:
        means[PRECISION] = conflicting[taken].float().mean()
        means[RECALL] = taken[conflicting].float().mean()
    return {name: value for name, mean in means.items() if (value := float(mean)) == value}


def tabulate_samples(notes: SampleNotes, data: BiasedDataset) -> dict[str, Tensor]:
    """Tabulate a method's `notes` on each training sample with its `target` and `bias`, [N] each.

    `weight`, `kept` and `votes`, if the method has them; `conflicting` bool, from the bias labels, if they are known.
    Empty for a method without per-sample values.
    """
    said = {"weight": notes.weight, "kept": notes.kept, "votes": notes.votes}
    found = {name: values for name, values in said.items() if values is not None}
    if not found:
        return {}
    labels = {"target": data.train.target, "bias": data.train.bias}
    return labels | found | ({"conflicting": ~data.aligned_samples(data.train)} if data.tells_conflicting() else {})


def selection_report(kept: Tensor, data: BiasedDataset) -> dict[str, Any]:
    """The indices of the training samples `kept`, bool [N], as bias-aligned, and their agreement with the bias labels,
    if known.

    Precision and recall are for detecting conflicting samples by `~kept`; None if undefined.
    """
    indices = {"kept": kept.nonzero()[:, 0].tolist()}
    if not data.tells_conflicting():
        return indices
    conflicting = ~data.aligned_samples(data.train)
    found = int((~kept & conflicting).sum())
    return {
        "aligned": {"total": int((~conflicting).sum()), "kept": int((kept & ~conflicting).sum())},
        "conflicting": {"total": int(conflicting.sum()), "kept": int((kept & conflicting).sum())},
        "precision": found / int((~kept).sum()) if not bool(kept.all()) else None,
        "recall": found / int(conflicting.sum()) if bool(conflicting.any()) else None,
    } | indices
