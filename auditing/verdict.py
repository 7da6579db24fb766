"""Whether what the networks have learned is a shortcut, which images contradict it, and which labels may be wrong.

Images with a score above `CONTRADICTS` are candidates. Three things make candidates: a shortcut, images that are hard,
and wrong labels. Two questions tell them apart.

1. Is there a gap? Hard images have scores of all sizes; images that conflict with a shortcut, and wrong labels, are
   contradicted throughout, and few scores lie in between.
2. Are the candidates as easy as the others for a network that the shortcut does not help? A fresh network is trained on
   as many candidates as other images of each class, and classifies those that it has not seen. Wrong labels cannot be
   recognised.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.auditing.images import AuditImages
from debiaslab.auditing.scoring import LEARNING_RATE, Scores, outputs, probabilities, small_classifier
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets.inputs import as_input

CONTRADICTS = 0.5  # a score above it: on average, the networks think the image's class less likely than not
BETWEEN, MOST_BETWEEN = (0.3, 0.7), 0.3  # scores in the gap; their number, at most, as a share of those above it
LEAST_CANDIDATES = 10
LARGEST_SHARE = 0.4  # of candidates: with more, the labels have not been learned
RECOGNISED = 0.75  # least ratio of the candidates' recognition to the others', as far as their number can tell
ERRORS = 1.64  # standard errors that the candidates' recognition may be short of that: one-sided 95 %
LEARNED = 0.2  # least recognition of the others, without which the ratio says nothing
STEPS, BATCH_SIZE = 600, 64  # of the fresh networks
FOLDS = 2
NEIGHBOURS, REFERENCES = 10, 5_000
DOUBTED, AGREED = 0.05, 0.8  # a label of which the network is surer than this that it is wrong, and so many neighbours


@dataclass(frozen=True)
class HeldOut:
    """What fresh networks say of images that they have not been trained on.

    index int64 [M], which images; probability, neighbours float32 [M, num_classes]: the probability of each class, and
    its share among the nearest images, in the networks' features, that they were trained on.
    """

    index: Tensor
    probability: Tensor
    neighbours: Tensor

    def recognised(self, target: Tensor, which: Tensor) -> float:
        """The share of the images `which`, bool [N], that are classified as `target` says."""
        chosen = which[self.index]
        right = self.probability.argmax(dim=1) == target[self.index]
        return float(right[chosen].float().mean()) if bool(chosen.any()) else 0.0


@dataclass(frozen=True)
class Verdict:
    """The outcome of an audit.

    reason: why there is no shortcut; empty where there is one. conflicting: bool [N], the images that are proposed as
    conflicting with it (none without a shortcut). inferred_bias int64 [N]: the class that the shortcut stands for in
    the image. label_error: bool [N], suspected. candidates: of the training images. recognised: shares of (candidates,
    others) that a network which the shortcut does not help classifies correctly; None where it was not asked.
    """

    reason: str
    conflicting: Tensor
    inferred_bias: Tensor
    label_error: Tensor
    candidates: int
    recognised: tuple[float, float] | None

    @property
    def found(self) -> bool:
        return not self.reason


def judge(images: AuditImages, scores: Scores, seed: int, device: torch.device) -> Verdict:
    """Decide whether `scores` show a shortcut."""
    candidate = scores.score > CONTRADICTS
    in_training = torch.arange(len(images)) < images.num_train
    count = int((candidate & in_training).sum())
    reason = _not_two_kinds(scores.score[: images.num_train], count)
    recognised = held_out = None
    if not reason:
        held_out = cross_fitted(images, balanced(images, candidate & in_training, seed), seed, device)
        recognised = (held_out.recognised(images.target, candidate), held_out.recognised(images.target, ~candidate))
        reason = _not_recognised(recognised, count, images.num_classes)
    if reason:
        held_out = cross_fitted(images, torch.arange(images.num_train), seed, device)
    assert held_out is not None
    conflicting = candidate & (not reason)
    others = scores.probability.scatter(1, images.target[:, None], -1.0).argmax(dim=1)
    return Verdict(
        reason=reason,
        conflicting=conflicting,
        inferred_bias=others.where(conflicting, images.target),
        label_error=_label_errors(images, held_out, candidate),
        candidates=count,
        recognised=recognised,
    )


def _not_two_kinds(score: Tensor, count: int) -> str:
    """Why the scores [N] of the training images, `count` of them candidates, do not fall into two kinds; else empty."""
    if count > LARGEST_SHARE * len(score):
        return f"a small network learns the labels of {len(score) - count:,} of {len(score):,} images only"
    if count < LEAST_CANDIDATES:
        return f"{count:,} of {len(score):,} training images contradict what a small network learns first"
    low, high = BETWEEN
    between, above = int(((score > low) & (score < high)).sum()), int((score >= high).sum())
    if between > MOST_BETWEEN * above:
        return (
            "there are hard images, but none that stand apart: what a small network learns first contradicts"
            f" {above:,} of {len(score):,} training images, and is of two minds about {between:,}"
        )
    return ""


def _not_recognised(recognised: tuple[float, float], count: int, num_classes: int) -> str:
    """Why the candidates, `count` in number, are not as easy as the others; else empty."""
    share, others = recognised
    error = ERRORS * (share * (1 - share) / count) ** 0.5
    reached = above_chance(share + error, num_classes)
    least = RECOGNISED * above_chance(others, num_classes)
    if above_chance(others, num_classes) >= LEARNED and reached >= least:
        return ""
    return (
        f"{count:,} training images contradict what a small network learns first, but their labels look wrong or"
        f" accidental: a network that has learned from as many of them as of others recognises {share:.0%} of them and"
        f" {others:.0%} of the others"
    )


def above_chance(share: float, num_classes: int) -> float:
    """A share of correct answers, rescaled: 0 for guessing, 1 for all."""
    return (share - 1 / num_classes) / (1 - 1 / num_classes)


def balanced(images: AuditImages, candidate: Tensor, seed: int) -> Tensor:
    """Positions int64: the training images that are `candidate`, bool [N], and as many others of each class."""
    order = torch.randperm(images.num_train, generator=torch_generator(seed, "audit", "balanced"))
    parts = []
    for label in range(images.num_classes):
        of_class = order[images.target[order] == label]
        chosen = of_class[candidate[of_class]]
        others = of_class[~candidate[of_class]]
        size = min(len(chosen), len(others))
        parts += [chosen[:size], others[:size]]
    return torch.cat(parts)


def cross_fitted(images: AuditImages, chosen: Tensor, seed: int, device: torch.device) -> HeldOut:
    """Train a fresh network on each half of the images `chosen`, int64 [M], and ask it about the other half."""
    order = chosen[torch.randperm(len(chosen), generator=torch_generator(seed, "audit", "halves"))]
    found: list[tuple[Tensor, Tensor]] = []
    halves = [order[fold::FOLDS] for fold in range(FOLDS)]
    for fold, (asked, training) in enumerate(zip(halves, reversed(halves), strict=True)):
        found.append(_fitted(images, training, asked, fold, seed, device))
    probability, neighbours = (torch.cat(values) for values in zip(*found, strict=True))
    return HeldOut(torch.cat(halves), probability, neighbours)


def _fitted(
    images: AuditImages, training: Tensor, asked: Tensor, fold: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    pixels, target = images.small.to(device), images.target.to(device)
    network = small_classifier(tuple(pixels.shape[1:]), images.num_classes, seed, f"fold {fold}").to(device)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    generator = torch_generator(seed, "audit", "fold", fold)
    for _ in range(STEPS):
        index = training[torch.randint(len(training), (BATCH_SIZE,), generator=generator)].to(device)
        loss = cross_entropy(network(as_input(pixels[index])), target[index])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    asked_pixels = pixels[asked.to(device)]
    probability = probabilities(network, asked_pixels).cpu()
    references = training[torch.randperm(len(training), generator=generator)[:REFERENCES]]
    features = outputs(network.encoder, pixels[references.to(device)]).cpu()
    neighbours = nearest_classes(
        outputs(network.encoder, asked_pixels).cpu(), features, images.target[references], images.num_classes
    )
    return probability, neighbours


def nearest_classes(features: Tensor, references: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Shares [M, num_classes] of the classes of the nearest `references` [R, F], whose classes are `target` [R]."""
    count = min(NEIGHBOURS, len(references))
    distances = (torch.cdist(part, references) for part in torch.split(features, 2_048))
    nearest = torch.cat([part.topk(count, largest=False).indices for part in distances])
    votes = torch.nn.functional.one_hot(target[nearest], num_classes)
    return votes.float().mean(dim=1)


def _label_errors(images: AuditImages, held_out: HeldOut, candidate: Tensor) -> Tensor:
    """Candidates whose label the held-out network rejects for a class that the nearest images agree on."""
    index, target = held_out.index, images.target[held_out.index]
    seen_as = held_out.probability.argmax(dim=1)
    doubted = held_out.probability.gather(1, target[:, None])[:, 0] < DOUBTED
    agreed = held_out.neighbours.gather(1, seen_as[:, None])[:, 0] >= AGREED
    suspected = torch.zeros(len(images), dtype=torch.bool)
    suspected[index] = candidate[index] & (seen_as != target) & doubted & agreed
    return suspected
