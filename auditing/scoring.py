"""Bias-conflicting scores of two networks that pick what is easy for each other (ECS; Zhao et al., arXiv:2111.13108).

Two networks are trained on the images that both find easy, which a shortcut serves, and are told to forget those that
only one of them does. The score of an image is 1 less the probability of its class, averaged over both networks and all
epochs. The authors' networks see the images as they are; these see small copies: faster, and as good (docs/audit.md).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from debiaslab.auditing.images import SMALL_DIGIT_SIZE, AuditImages
from debiaslab.core.progress_bar import progress_bar
from debiaslab.core.randomness import seeded, torch_generator
from debiaslab.datasets.inputs import as_input
from debiaslab.methods.losses import generalized_cross_entropy
from debiaslab.models.base import Encoder, PoolingEncoder
from debiaslab.models.mlp import MLPEncoder
from debiaslab.models.networks import Classifier, Head
from debiaslab.training.device import cpu_threads

DEFAULT_SCORE = "ecs"
SCORES = (DEFAULT_SCORE, "gce", "loss")  # of two networks; for comparison, of one: LfF's biased loss, JTT's plain one
GCE_EXPONENT = 0.7  # q, as in LfF
EASY = 0.5  # eta: a probability above this share of the largest one of the class in the batch is easy
FORGET = -1e-4  # weight of an image that only the network itself finds easy, from the second epoch on
LEARNING_RATE = 1e-3
LEAST_EPOCHS, LEAST_STEPS = 10, 400
BATCH_SIZES = (64, 256)  # of few images, of many
IMAGES_PER_CLASS = 16  # of a batch, at least
EVALUATED_AT_ONCE = 2_048
FEW_VALUES = 2**18  # of a batch of images
MLP_WIDTHS = (100, 100, 100)
CONV_WIDTHS = (16, 32, 64)  # channels of 3x3 convolutions of stride 2


@dataclass(frozen=True)
class Scores:
    """score float32 [N], 0 aligned to 1 conflicting; probability float32 [N, num_classes], the mean that it is of;
    features float32 [N, F] of both networks, after the last epoch; network: what these are, in a sentence."""

    score: Tensor
    probability: Tensor
    features: Tensor
    network: str = "a small network that sees only the easy part"


def small_classifier(image_shape: tuple[int, ...], num_classes: int, seed: int, role: str) -> Classifier:
    """A network for small copies: LfF's MLP for digits, three convolutions for others."""
    with seeded(seed, "audit", role):
        encoder: Encoder
        if max(image_shape[-2:]) <= SMALL_DIGIT_SIZE:
            encoder = MLPEncoder(image_shape, MLP_WIDTHS, input_scale=1.0)
        else:
            encoder = PoolingEncoder(_convolutions(image_shape[0]), CONV_WIDTHS[-1])
        return Classifier(encoder, Head(encoder.feature_dim, num_classes))


def _convolutions(channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width in CONV_WIDTHS:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)


def score_images(
    images: AuditImages, seed: int, device: torch.device, epochs: int | None = None, by: str = DEFAULT_SCORE
) -> Scores:
    """Train the networks of the score `by` on the training images and score all images.

    `epochs` None: as many as the data need.
    """
    size, num_classes = images.num_train, images.num_classes
    batch_size = batch_size_of(size, num_classes)
    epochs = epochs or max(LEAST_EPOCHS, ceil(LEAST_STEPS / ceil(size / batch_size)))
    pixels, target = images.small.to(device), images.target.to(device)
    roles = ("first", "second") if by == "ecs" else ("first",)
    networks = [small_classifier(tuple(pixels.shape[1:]), num_classes, seed, role).to(device) for role in roles]
    optimizer = torch.optim.Adam([weights for network in networks for weights in network.parameters()], LEARNING_RATE)
    total = torch.zeros(len(images), num_classes, device=device)
    for epoch in progress_bar(range(epochs), epochs, "looking for what is easy"):
        for network in networks:
            network.train()
        order = torch.randperm(size, generator=torch_generator(seed, "audit", "order", epoch)).to(device)
        for index in torch.split(order, batch_size):
            image = as_input(pixels[index])
            logits = torch.stack([network(image) for network in networks])
            loss = _loss(by, logits, target[index], forget=epoch > 0)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        for network in networks:
            network.eval()
            total += probabilities(network, pixels)
    probability = total.cpu() / (epochs * len(networks))
    score = 1 - probability.gather(1, images.target[:, None])[:, 0]
    features = torch.cat([outputs(network.encoder, pixels) for network in networks], dim=1)
    return Scores(score, probability, features.cpu())


def threads_for_copies(images: AuditImages) -> AbstractContextManager[None]:
    """Within the block, batches of few values are computed on one thread: several would mostly wait for each other."""
    values = batch_size_of(images.num_train, images.num_classes) * images.small[0].numel()
    return cpu_threads(1 if values <= FEW_VALUES else None)


def batch_size_of(size: int, num_classes: int) -> int:
    """Images of a batch, of so many training images."""
    fewest, most = BATCH_SIZES
    return max(fewest, IMAGES_PER_CLASS * num_classes, min(most, size // 100))


@torch.no_grad()
def outputs(call: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """`call` of all `pixels` uint8 [N, ...], some at a time: [N, F]."""
    return torch.cat([call(as_input(part)) for part in torch.split(pixels, EVALUATED_AT_ONCE)])


def probabilities(network: Classifier, pixels: Tensor) -> Tensor:
    """[N, num_classes] of all `pixels`."""
    return outputs(lambda image: network(image).softmax(dim=1), pixels)


def _loss(by: str, logits: Tensor, target: Tensor, forget: bool) -> Tensor:
    """The sum of the losses of the networks, whose logits are [K, B, num_classes]; a scalar."""
    if by == "gce":
        return generalized_cross_entropy(logits[0], target, GCE_EXPONENT).mean()
    losses = torch.stack([cross_entropy(of_network, target, reduction="none") for of_network in logits])  # [K, B]
    if by == "ecs":
        losses = _easy_for_both(losses.detach(), target, logits.shape[2], forget) * losses
    return losses.mean(dim=1).sum()


def _easy_for_both(losses: Tensor, target: Tensor, num_classes: int, forget: bool) -> Tensor:
    """Weights [2, B] of the images of a batch, whose losses are [2, B]: 1 where both networks find them easy."""
    probability = (-losses).exp()
    largest = torch.zeros(2, num_classes, device=target.device)
    largest.scatter_reduce_(1, target.expand(2, -1), probability, "amax")
    easy = probability > EASY * largest[:, target]
    other = easy.flip(0)
    weight = (easy & other).float()
    if forget:
        weight += FORGET * (easy & ~other).float()
    return weight
