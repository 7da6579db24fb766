"""How well a method tells bias-conflicting training samples apart: for the record only, never used in training."""

from typing import Any

import torch
from torch import Tensor

from debiaslab.datasets import BiasedDataset
from debiaslab.methods import SampleNotes

WEIGHT_ALIGNED, WEIGHT_CONFLICTING = "weight/aligned", "weight/conflicting"
SAMPLES = "samples.safetensors"  # the file of a run's record with `tabulate_samples`
PRECISION, RECALL = "conflicting/precision", "conflicting/recall"


@torch.no_grad()
def sample_diagnostics(notes: SampleNotes, data: BiasedDataset) -> dict[str, float]:
    """How a method's `notes` on the training samples of `data` agree with their bias labels; empty without labels.

    `WEIGHT_...`: mean sample weight on the aligned and on the conflicting samples, of those that have one already;
    `PRECISION` and `RECALL` of "this sample is conflicting". What the method does not have is left out, and means over
    no sample.
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
    """What a method's `notes` say of each training sample, beside its `target` and `bias`, [N] each.

    `weight`, `kept` and `votes`, those that it has; `conflicting` bool by the bias labels, where they are known. Empty
    for a method that does not tell samples apart.
    """
    said = {"weight": notes.weight, "kept": notes.kept, "votes": notes.votes}
    found = {name: values for name, values in said.items() if values is not None}
    if not found:
        return {}
    labels = {"target": data.train.target, "bias": data.train.bias}
    return labels | found | ({"conflicting": ~data.aligned_samples(data.train)} if data.tells_conflicting() else {})


def selection_report(kept: Tensor, data: BiasedDataset) -> dict[str, Any]:
    """The indices of the selection `kept`, bool [N], of training samples as bias-aligned, and how it agrees with the
    bias labels, if they are known.

    Precision and recall are those of "conflicting" for the samples that are not kept; None over no sample.
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
