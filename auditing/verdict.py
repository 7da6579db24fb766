"""Decide whether the scores show a shortcut, which images conflict with it, and which labels may be wrong.

The score of an image is, in effect, the share of the training during which the networks contradict its label: they are
confident, so that probabilities are close to 0 or 1. What a shortcut explains is learned in the first epochs, and has
scores close to 0. Images that contradict the networks for more than a quarter of the training (`THRESHOLD`) are
candidates, even if the networks memorise them later. Besides a shortcut, hard images and wrong labels produce
candidates. Two tests tell them apart:

1. Gap: hard images are learned at any time, and have scores of all sizes. Most images that conflict with a shortcut, or
   have a wrong label, contradict the networks nearly throughout (above `THROUGHOUT`), and few are in between.
2. Held-out accuracy: a fresh network, trained on as many candidates as other images of each class, cannot use the
   shortcut. If it classifies held-out candidates about as well as other images, they are ordinary images of their
   class; wrong labels cannot be predicted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.auditing.images import AuditImages
from debiaslab.auditing.scoring import (
    LEARNING_RATE,
    Scores,
    compute_outputs,
    predict_probabilities,
    small_classifier,
)
from debiaslab.core.randomness import torch_generator
from debiaslab.datasets.inputs import as_input
from debiaslab.methods.losses import of_class

THRESHOLD, THROUGHOUT = 0.25, 0.75  # scores, as explained above
MAX_BETWEEN = 0.3  # images with scores between these two, relative to those above
MIN_CANDIDATES = 10
MAX_CANDIDATES = 0.4  # share of the images: with more candidates, the networks hardly learn the labels
MIN_ACCURACY_RATIO = 0.75  # of the candidates' held-out accuracy to that of the others, both above chance
STANDARD_ERRORS = 1.64  # tolerance of the candidates' held-out accuracy: one-sided 95 %
MIN_ACCURACY = 0.2  # of the others, above chance; the ratio means nothing with a lower one
STEPS, BATCH_SIZE = 600, 64  # of the fresh networks
FOLDS = 2
NEIGHBOURS, MAX_REFERENCES = 10, 5_000
# a label error is suspected below this probability of the label, and with this share of neighbours of another class
MAX_LABEL_PROBABILITY, MIN_AGREEMENT = 0.05, 0.8


@dataclass(frozen=True)
class HeldOut:
    """Predictions of fresh networks for M images that they were not trained on.

    index: int64 [M], positions of the images. probability: float32 [M, num_classes]. neighbours: float32
    [M, num_classes], the share of each class among the nearest training images, in the features of the network.
    """

    index: Tensor
    probability: Tensor
    neighbours: Tensor

    def accuracy(self, target: Tensor, mask: Tensor) -> float:
        """The accuracy on the images in `mask`, bool [N], with classes `target` int64 [N]; 0 without such images."""
        members = mask[self.index]
        correct = self.probability.argmax(dim=1) == target[self.index]
        return float(correct[members].float().mean()) if bool(members.any()) else 0.0


@dataclass(frozen=True)
class Verdict:
    """The outcome of an audit of N images.

    reason: why no shortcut was found; empty if one was. conflicting: bool [N], the images that are proposed as
    conflicting with the shortcut; none without one. inferred_bias: int64 [N], the class that the shortcut in the image
    stands for. label_error: bool [N], suspected label errors. num_candidates: of the training images.
    held_out_accuracy: of (candidates, others), by networks that cannot use the shortcut; None if it was not measured.
    """

    reason: str
    conflicting: Tensor
    inferred_bias: Tensor
    label_error: Tensor
    num_candidates: int
    held_out_accuracy: tuple[float, float] | None

    @property
    def found(self) -> bool:
        return not self.reason


def judge(images: AuditImages, scores: Scores, seed: int, device: torch.device) -> Verdict:
    """Decide whether `scores` show a shortcut."""
    candidate = scores.score > THRESHOLD
    in_train = torch.arange(len(images)) < images.num_train
    num_candidates = int((candidate & in_train).sum())
    reason = _reject_by_distribution(scores.score[: images.num_train], num_candidates)
    index = sample_balanced(images, candidate & in_train, seed)
    if not reason and len(index) == 0:
        reason = (
            f"a small network has not learned some of the classes: all of their images, {num_candidates:,}, contradict"
            " it"
        )
    accuracy = held_out = None
    if not reason:
        held_out = predict_held_out(images, index, seed, device)
        accuracy = (held_out.accuracy(images.target, candidate), held_out.accuracy(images.target, ~candidate))
        reason = _reject_by_accuracy(accuracy, num_candidates, images.num_classes)
    if held_out is None or reason:
        held_out = predict_held_out(images, torch.arange(images.num_train), seed, device)
    conflicting = candidate & (not reason)
    return Verdict(
        reason=reason,
        conflicting=conflicting,
        inferred_bias=scores.most_likely_other(images.target).where(conflicting, images.target),
        label_error=_find_label_errors(images, held_out, candidate),
        num_candidates=num_candidates,
        held_out_accuracy=accuracy,
    )


def _reject_by_distribution(score: Tensor, num_candidates: int) -> str:
    """Why the scores of the training images, [N], do not show a shortcut; empty if they may."""
    size = len(score)
    if num_candidates > MAX_CANDIDATES * size:
        return (
            f"a small network learns the labels of only {size - num_candidates:,} of {size:,} training images early on"
        )
    if num_candidates < MIN_CANDIDATES:
        return f"only {num_candidates:,} of {size:,} training images contradict what a small network learns first"
    throughout = int((score >= THROUGHOUT).sum())
    between = num_candidates - throughout
    if between > MAX_BETWEEN * throughout:
        return (
            f"some images are hard, but no group stands out: {throughout:,} of {size:,} training images contradict a"
            f" small network nearly throughout its training, and {between:,} for a part of it"
        )
    return ""


def _reject_by_accuracy(accuracy: tuple[float, float], num_candidates: int, num_classes: int) -> str:
    """Why the held-out `accuracy` of (candidates, others) does not show a shortcut; empty if it does."""
    candidates, others = accuracy
    error = STANDARD_ERRORS * (candidates * (1 - candidates) / num_candidates) ** 0.5
    upper_bound = above_chance(candidates + error, num_classes)
    required = MIN_ACCURACY_RATIO * above_chance(others, num_classes)
    if above_chance(others, num_classes) >= MIN_ACCURACY and upper_bound >= required:
        return ""
    return (
        f"{num_candidates:,} training images contradict what a small network learns first, but their labels look wrong"
        f" or random: a network trained on as many of them as of others classifies {candidates:.0%} of them correctly,"
        f" and {others:.0%} of the others"
    )


def above_chance(accuracy: float, num_classes: int) -> float:
    """`accuracy` rescaled to 0 for guessing and 1 for no error."""
    return (accuracy - 1 / num_classes) / (1 - 1 / num_classes)


def sample_balanced(images: AuditImages, candidate: Tensor, seed: int) -> Tensor:
    """Sample as many images in `candidate`, bool [N], as other training images of each class: positions, int64 [M]."""
    order = torch.randperm(images.num_train, generator=torch_generator(seed, "audit", "balanced"))
    parts = []
    for label in range(images.num_classes):
        members = order[images.target[order] == label]
        candidates, others = members[candidate[members]], members[~candidate[members]]
        size = min(len(candidates), len(others))
        parts += [candidates[:size], others[:size]]
    return torch.cat(parts)


def predict_held_out(images: AuditImages, index: Tensor, seed: int, device: torch.device) -> HeldOut:
    """Split the images at `index` int64 [M] into halves, and predict each with a network trained on the other."""
    order = index[torch.randperm(len(index), generator=torch_generator(seed, "audit", "halves"))]
    halves = [order[fold::FOLDS] for fold in range(FOLDS)]
    predictions = [
        _fit_and_predict(images, train, held_out, fold, seed, device)
        for fold, (held_out, train) in enumerate(zip(halves, reversed(halves), strict=True))
    ]
    probability, neighbours = (torch.cat(parts) for parts in zip(*predictions, strict=True))
    return HeldOut(torch.cat(halves), probability, neighbours)


def _fit_and_predict(
    images: AuditImages, train: Tensor, held_out: Tensor, fold: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """(probability, neighbours) as in `HeldOut`."""
    pixels, target = images.pixels.to(device), images.target.to(device)
    network = small_classifier(tuple(pixels.shape[1:]), images.num_classes, seed, f"fold {fold}").to(device)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    generator = torch_generator(seed, "audit", "fold", fold)
    for _ in range(STEPS):
        batch = train[torch.randint(len(train), (BATCH_SIZE,), generator=generator)].to(device)
        loss = cross_entropy(network(as_input(pixels[batch])), target[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    held_out_pixels = pixels[held_out.to(device)]
    probability = predict_probabilities(network, held_out_pixels).cpu()
    references = train[torch.randperm(len(train), generator=generator)[:MAX_REFERENCES]]
    neighbours = count_neighbours(
        compute_outputs(network.encoder, held_out_pixels).cpu(),
        compute_outputs(network.encoder, pixels[references.to(device)]).cpu(),
        images.target[references],
        images.num_classes,
    )
    return probability, neighbours


def count_neighbours(features: Tensor, references: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """The share of each class among the nearest `references` of each image; float32 [M, num_classes].

    `features` [M, F]; `references` [R, F] with classes `target` int64 [R].
    """
    count = min(NEIGHBOURS, len(references))
    distances = (torch.cdist(chunk, references) for chunk in torch.split(features, 2_048))
    nearest = torch.cat([chunk.topk(count, largest=False).indices for chunk in distances])
    votes = torch.nn.functional.one_hot(target[nearest], num_classes)
    return votes.float().mean(dim=1)


def _find_label_errors(images: AuditImages, held_out: HeldOut, candidate: Tensor) -> Tensor:
    """Candidates whose label the held-out network rejects in favour of the class of most neighbours; bool [N]."""
    index, target = held_out.index, images.target[held_out.index]
    predicted = held_out.probability.argmax(dim=1)
    unlikely = of_class(held_out.probability, target) < MAX_LABEL_PROBABILITY
    agreed = of_class(held_out.neighbours, predicted) >= MIN_AGREEMENT
    suspected = torch.zeros(len(images), dtype=torch.bool)
    suspected[index] = candidate[index] & (predicted != target) & unlikely & agreed
    return suspected
