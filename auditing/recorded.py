"""Scores by a recorded run's networks, such as those of LfF or BiasEnsemble, whose biased network has the shortcut."""

from collections.abc import Callable

import torch
from torch import Tensor

from debiaslab.analysis.restored_run import RestoredRun
from debiaslab.auditing.images import SPLITS, AuditImages
from debiaslab.auditing.scoring import Scores
from debiaslab.evaluation.outputs import outputs_at

BIASED = ("biased", "shallow")  # branches that learn a shortcut, as methods name them


def score_by_run(restored: RestoredRun, images: AuditImages) -> Scores:
    """1 less the probability that the run's biased network gives the class; its prediction's, where it has none."""
    phase = restored.method.phases()[-1]
    logits = _outputs(restored, phase.logits)
    branch = next((name for name in BIASED if name in logits), next(iter(logits)))
    probability = logits[branch].softmax(dim=1)
    score = 1 - probability.gather(1, images.target[:, None])[:, 0]
    features = _outputs(restored, phase.features).get(branch, probability)
    return Scores(score, probability, features, network=f"the network {branch!r} of the run")


def _outputs(restored: RestoredRun, call: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Branch -> outputs [N, F] of the images in the order of `AuditImages`, on the CPU."""
    data = restored.data
    splits = [split for name, split in data.splits().items() if name in SPLITS]
    parts = [outputs_at(torch.arange(len(split), device=split.images.device), call, split, data) for split in splits]
    return {branch: torch.cat([part[branch] for part in parts]).cpu() for branch in parts[0]}
