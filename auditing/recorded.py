"""Scores from the networks of a recorded run, such as the biased network of LfF or BiasEnsemble."""

from collections.abc import Callable

import torch
from torch import Tensor

from debiaslab.analysis.restored_run import RestoredRun
from debiaslab.auditing.images import SPLITS, AuditImages
from debiaslab.auditing.scoring import Scores
from debiaslab.evaluation.outputs import outputs_at
from debiaslab.methods.losses import of_class

BIASED_BRANCHES = ("biased", "shallow")  # branches that are trained to learn the shortcut


def score_by_run(restored: RestoredRun, images: AuditImages) -> Scores:
    """Score each image by 1 minus the probability that the run's biased network gives its class.

    Methods without a biased network are scored by their first branch, the prediction.
    """
    phase = restored.method.phases()[-1]
    logits = _compute_outputs(restored, phase.logits)
    branch = next((name for name in BIASED_BRANCHES if name in logits), next(iter(logits)))
    probability = logits[branch].softmax(dim=1)
    score = 1 - of_class(probability, images.target)
    features = _compute_outputs(restored, phase.features).get(branch, probability)
    return Scores(score, probability, features, network=f"the run's network {branch!r}")


def _compute_outputs(restored: RestoredRun, call: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Branch -> outputs [N, F] for the images in the order of `AuditImages`, on the CPU."""
    data = restored.data
    splits = [split for name, split in data.splits().items() if name in SPLITS]
    parts = [outputs_at(torch.arange(len(split), device=split.images.device), call, split, data) for split in splits]
    return {branch: torch.cat([part[branch] for part in parts]).cpu() for branch in parts[0]}
