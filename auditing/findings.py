"""Everything that an audit finds, and the sentences that say it."""

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


@dataclass(frozen=True)
class Verification:
    """How right the audit is about the training images, by their bias labels, which it has not used otherwise.

    average_precision: of the score; precision, recall: of the images that are proposed; bias_accuracy: of the inferred
    bias of those that do conflict, where biases are numbered as classes. None where none is proposed.
    """

    conflicting: int
    average_precision: float
    precision: float | None
    recall: float | None
    bias_accuracy: float | None


@dataclass(frozen=True)
class Findings:
    """`cluster` int64 [N], the number of a conflicting image's cluster in its class, else -1."""

    data: BiasedDataset
    images: AuditImages
    scores: Scores
    verdict: Verdict
    cluster: Tensor
    properties: list[Property]
    verification: Verification | None

    @property
    def proposed(self) -> int:
        """How many training images are proposed as conflicting."""
        return int(self.verdict.conflicting[: self.images.num_train].sum())

    def sentence(self) -> str:
        """The outcome, in one sentence with its numbers."""
        size, verdict = self.images.num_train, self.verdict
        if not verdict.found:
            return f"no shortcut found: {verdict.reason}"
        predicted = 1 - verdict.candidates / size
        candidates, others = verdict.recognised or (0.0, 0.0)
        return (
            f"a shortcut: {self.scores.network} predicts {predicted:.1%} of the labels;"
            f" {self.proposed / size:.1%} of the training images ({self.proposed:,} of {size:,}) contradict it;"
            f" a network that it does not help recognises {candidates:.0%} of these, and {others:.0%} of the others"
        )

    def looks(self) -> list[str]:
        """For each class with proposed images, which other classes they look like."""
        lines = []
        names = self.images.class_names
        in_training = torch.arange(len(self.images)) < self.images.num_train
        for label, name in enumerate(names):
            chosen = self.verdict.conflicting & in_training & (self.images.target == label)
            if not bool(chosen.any()):
                continue
            counts = torch.bincount(self.verdict.inferred_bias[chosen], minlength=len(names))
            most = [other for other in counts.argsort(descending=True, stable=True)[:3].tolist() if counts[other]]
            seen = ", ".join(f"{int(counts[other]):,} like {names[other]}" for other in most)
            lines.append(f"of {name}, {int(chosen.sum()):,} conflicting images look {seen}")
        return lines

    def verified(self) -> list[str]:
        """What the bias labels say of the audit; nothing where there are none."""
        found = self.verification
        if found is None:
            return []
        shares = (
            "none is proposed"
            if found.precision is None
            else f"precision {found.precision:.3f} and recall {found.recall:.3f} of the proposed images"
        )
        right = "" if found.bias_accuracy is None else f"; inferred bias right for {found.bias_accuracy:.1%} of those"
        return [
            f"verification by the data set's bias labels, which were not used: {found.conflicting:,} training images"
            f" conflict; average precision {found.average_precision:.3f}, {shares}{right}"
        ]


def find(
    data: BiasedDataset, images: AuditImages, scores: Scores, seed: int, device: torch.device, verify: bool = True
) -> Findings:
    """Judge `scores` of `images`, which are those of `data`, and describe what they show.

    `verify`: compare with the bias labels, where there are any.
    """
    verdict = judge(images, scores, seed, device)
    return Findings(
        data=data,
        images=images,
        scores=scores,
        verdict=verdict,
        cluster=cluster(scores.features, images.target, verdict.conflicting, seed),
        properties=measure_properties(images, data.train, seed),
        verification=_verify(data, images, scores, verdict) if verify else None,
    )


def _verify(data: BiasedDataset, images: AuditImages, scores: Scores, verdict: Verdict) -> Verification | None:
    from sklearn.metrics import average_precision_score  # imported here: it takes seconds

    size = images.num_train
    conflicting = images.conflicting[:size]
    if not data.tells_conflicting() or not bool(conflicting.any()):
        return None
    proposed = verdict.conflicting[:size]
    right = proposed & conflicting
    precision = recall = accuracy = None
    if bool(proposed.any()):
        precision, recall = (float(right.sum() / which.sum()) for which in (proposed, conflicting))
        if data.num_biases == data.num_classes and bool(right.any()):
            accuracy = float((verdict.inferred_bias[:size] == images.bias[:size])[right].float().mean())
    score = float(average_precision_score(conflicting.numpy(), numpy.asarray(scores.score[:size])))
    return Verification(int(conflicting.sum()), score, precision, recall, accuracy)
