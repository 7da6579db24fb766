"""Everything that an audit finds, and how it is put into words."""

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from debiaslab.auditing.groups import cluster
from debiaslab.auditing.images import AuditImages
from debiaslab.auditing.properties import Property, measure_properties
from debiaslab.auditing.scoring import Scores
from debiaslab.auditing.verdict import Verdict, judge
from debiaslab.datasets import BiasedDataset

MAX_LISTED_BIASES = 3  # per class


@dataclass(frozen=True)
class Verification:
    """How well the audit agrees with the bias labels of the training images, which it does not use otherwise.

    conflicting: number of bias-conflicting images. average_precision: of the score. precision, recall: of the proposed
    images. bias_accuracy: of the inferred bias of proposed images that do conflict; None unless each class is aligned
    with the bias of its own index. The last three are None if no image is proposed.
    """

    conflicting: int
    average_precision: float
    precision: float | None
    recall: float | None
    bias_accuracy: float | None


@dataclass(frozen=True)
class Findings:
    """The result of an audit; `cluster` is that of `groups.cluster`, int64 [N]."""

    data: BiasedDataset
    images: AuditImages
    scores: Scores
    verdict: Verdict
    cluster: Tensor
    properties: list[Property]
    verification: Verification | None

    @property
    def num_proposed(self) -> int:
        """The number of training images that are proposed as conflicting."""
        return int(self.verdict.conflicting[: self.images.num_train].sum())

    def summary(self) -> str:
        """The outcome in one sentence with numbers."""
        size, verdict = self.images.num_train, self.verdict
        if not verdict.found:
            return f"no shortcut found: {verdict.reason}"
        candidates, others = verdict.held_out_accuracy or (0.0, 0.0)
        return (
            f"shortcut found: {self.scores.network} predicts {1 - verdict.num_candidates / size:.1%} of the training"
            f" labels; {self.num_proposed / size:.1%} of the training images ({self.num_proposed:,} of {size:,})"
            f" contradict it, and are not mislabelled: a network trained without the shortcut classifies"
            f" {candidates:.0%} of them correctly, and {others:.0%} of the others"
        )

    def describe_classes(self) -> list[str]:
        """For each class with proposed training images, a line with the classes that these look like."""
        lines = []
        images, names = self.images, self.images.class_names
        in_train = torch.arange(len(images)) < images.num_train
        for label, name in enumerate(names):
            members = self.verdict.conflicting & in_train & (images.target == label)
            if not bool(members.any()):
                continue
            counts = torch.bincount(self.verdict.inferred_bias[members], minlength=len(names))
            order = counts.argsort(descending=True, stable=True)[:MAX_LISTED_BIASES].tolist()
            biases = ", ".join(f"{int(counts[other]):,} look like {names[other]}" for other in order if counts[other])
            lines.append(f"{name}: {int(members.sum()):,} conflicting images, of which {biases}")
        return lines

    def describe_verification(self) -> list[str]:
        """A line about the agreement with the bias labels; none without bias labels."""
        verification = self.verification
        if verification is None:
            return []
        proposed = "no image is proposed"
        if verification.precision is not None:
            proposed = f"proposed images: precision {verification.precision:.3f}, recall {verification.recall:.3f}"
        if verification.bias_accuracy is not None:
            proposed += f", inferred bias correct for {verification.bias_accuracy:.1%} of the conflicting ones"
        return [
            f"verification (bias labels are used for nothing else): {verification.conflicting:,} training images"
            f" conflict; average precision of the score {verification.average_precision:.3f}; {proposed}"
        ]


def collect_findings(
    data: BiasedDataset, images: AuditImages, scores: Scores, seed: int, device: torch.device, verify: bool = True
) -> Findings:
    """Judge the `scores` of `images`, read from `data`, and describe the conflicting ones.

    verify: compare with the bias labels, if `data` has any.
    """
    verdict = judge(images, scores, seed, device)
    return Findings(
        data=data,
        images=images,
        scores=scores,
        verdict=verdict,
        cluster=cluster(scores.features, images.target, verdict.conflicting, seed),
        properties=measure_properties(images, data.train, seed),
        verification=compare_with_bias(data, images, scores, verdict) if verify else None,
    )


def compare_with_bias(
    data: BiasedDataset, images: AuditImages, scores: Scores, verdict: Verdict
) -> Verification | None:
    """Compare with the bias labels of the training images; None if no image is known to conflict."""
    from sklearn.metrics import average_precision_score  # imported here: it takes seconds

    size = images.num_train
    conflicting = images.conflicting[:size]
    if not data.tells_conflicting() or not bool(conflicting.any()):
        return None
    proposed = verdict.conflicting[:size]
    correct = proposed & conflicting
    precision = recall = bias_accuracy = None
    if bool(proposed.any()):
        precision, recall = (float(correct.sum() / mask.sum()) for mask in (proposed, conflicting))
        identity = torch.eye(data.num_classes, data.num_biases, dtype=torch.bool)
        if torch.equal(data.aligned_groups().cpu(), identity) and bool(correct.any()):
            bias_accuracy = float((verdict.inferred_bias[:size] == images.bias[:size])[correct].float().mean())
    average_precision = float(average_precision_score(conflicting.numpy(), numpy.asarray(scores.score[:size])))
    return Verification(int(conflicting.sum()), average_precision, precision, recall, bias_accuracy)
