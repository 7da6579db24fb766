"""Bias-conflicting scores: 1 minus the probability of the label, averaged over the epochs of small networks.

The default is ECS (Zhao et al., arXiv:2111.13108): two networks with peer picking. Each batch, they are trained on the
images that both find easy, which a shortcut makes so, and unlearn those that only one finds easy; the score is averaged
over both networks and all epochs. Unlike the authors' networks, these see downsampled images: that is faster, and as
good (docs/audit.md).
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
from debiaslab.core.randomness import seed_torch, torch_generator
from debiaslab.datasets.inputs import as_input
from debiaslab.methods.ecs_ga import peer_picking_weights
from debiaslab.methods.losses import generalized_cross_entropy, of_class
from debiaslab.models.base import Encoder, PoolingEncoder
from debiaslab.models.mlp import MLPEncoder
from debiaslab.models.networks import Classifier, Head
from debiaslab.training.device import cpu_threads

DEFAULT_SCORE = "ecs"
SCORES = (DEFAULT_SCORE, "gce", "loss")  # for comparison, a single network with LfF's GCE, or JTT's cross-entropy
GCE_EXPONENT = 0.7  # q, as in LfF
# eta: easy is a probability above this share of the highest one of the class in the batch; the authors' values for
# Colored MNIST, and for Corrupted CIFAR-10, where the networks are less confident
ETA_DIGITS, ETA = 0.5, 0.1
LEARNING_RATE = 1e-3
MIN_EPOCHS, MIN_STEPS = 10, 400
BATCH_SIZES = (64, 256)  # for small and large data sets
MIN_IMAGES_PER_CLASS = 16  # in a batch, on average
CHUNK = 2_048  # images to evaluate at a time
SMALL_BATCH = 2**18  # values in a batch, up to which one thread is fastest
MLP_WIDTHS = (100, 100, 100)
CONV_WIDTHS = (16, 32, 64)  # channels of 3x3 convolutions of stride 2


@dataclass(frozen=True)
class Scores:
    """Scores of all images.

    score: float32 [N], from 0 (bias-aligned) to 1 (bias-conflicting). probability: float32 [N, num_classes], the class
    probabilities that the score is derived from. features: float32 [N, F], of all networks after the last epoch.
    network: what made the predictions, as named in messages.
    """

    score: Tensor
    probability: Tensor
    features: Tensor
    network: str = "a small network"

    def most_likely_other(self, target: Tensor) -> Tensor:
        """The most likely class of each image apart from its `target`; int64 [N]."""
        return self.probability.scatter(1, target[:, None], -1.0).argmax(dim=1)


def small_classifier(image_shape: tuple[int, ...], num_classes: int, seed: int, role: str) -> Classifier:
    """A network for downsampled images: LfF's MLP for digits, three convolutions for others."""
    with seed_torch(seed, "audit", role):
        encoder: Encoder
        if _is_digit(image_shape):
            encoder = MLPEncoder(image_shape, MLP_WIDTHS, input_scale=1.0)
        else:
            encoder = PoolingEncoder(_convolutions(image_shape[0]), CONV_WIDTHS[-1])
        return Classifier(encoder, Head(encoder.feature_dim, num_classes))


def _is_digit(image_shape: tuple[int, ...]) -> bool:
    return max(image_shape[-2:]) <= SMALL_DIGIT_SIZE


def _convolutions(channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width in CONV_WIDTHS:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)


def score_images(
    images: AuditImages, seed: int, device: torch.device, epochs: int | None = None, by: str = DEFAULT_SCORE
) -> Scores:
    """Train the networks of the score `by`, one of `SCORES`, on the training images and score all images.

    epochs: None chooses them by the number of images.
    """
    size, num_classes = images.num_train, images.num_classes
    batch_size = choose_batch_size(size, num_classes)
    epochs = epochs or max(MIN_EPOCHS, ceil(MIN_STEPS / ceil(size / batch_size)))
    pixels, target = images.pixels.to(device), images.target.to(device)
    image_shape = tuple(pixels.shape[1:])
    eta = ETA_DIGITS if _is_digit(image_shape) else ETA
    roles = ("first", "second") if by == "ecs" else ("first",)
    networks = [small_classifier(image_shape, num_classes, seed, role).to(device) for role in roles]
    optimizer = torch.optim.Adam([weights for network in networks for weights in network.parameters()], LEARNING_RATE)
    total = torch.zeros(len(images), num_classes, device=device)
    for epoch in progress_bar(range(epochs), epochs, "training small networks"):
        for network in networks:
            network.train()
        order = torch.randperm(size, generator=torch_generator(seed, "audit", "order", epoch)).to(device)
        for index in torch.split(order, batch_size):
            image = as_input(pixels[index])
            logits = torch.stack([network(image) for network in networks])
            loss = _loss(by, logits, target[index], eta, unlearn=epoch > 0)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        for network in networks:
            network.eval()
            total += predict_probabilities(network, pixels)
    probability = total.cpu() / (epochs * len(networks))
    score = 1 - of_class(probability, images.target)
    features = torch.cat([compute_outputs(network.encoder, pixels) for network in networks], dim=1)
    return Scores(score, probability, features.cpu())


def limit_threads(images: AuditImages) -> AbstractContextManager[None]:
    """Compute on one thread within the block if batches are small: several would mostly wait for each other."""
    values = choose_batch_size(images.num_train, images.num_classes) * images.pixels[0].numel()
    return cpu_threads(1 if values <= SMALL_BATCH else None)


def choose_batch_size(size: int, num_classes: int) -> int:
    """The batch size for `size` training images."""
    small, large = BATCH_SIZES
    return max(small, MIN_IMAGES_PER_CLASS * num_classes, min(large, size // 100))


@torch.no_grad()
def compute_outputs(call: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """`call` on all images, `pixels` uint8 [N, channels, height, width], in chunks; returns [N, F]."""
    return torch.cat([call(as_input(chunk)) for chunk in torch.split(pixels, CHUNK)])


def predict_probabilities(network: Classifier, pixels: Tensor) -> Tensor:
    """Class probabilities [N, num_classes] of all images, `pixels` uint8 [N, channels, height, width]."""
    return compute_outputs(lambda image: network(image).softmax(dim=1), pixels)


def _loss(by: str, logits: Tensor, target: Tensor, eta: float, unlearn: bool) -> Tensor:
    """The sum of the losses of K networks, a scalar. `logits` [K, B, num_classes]; K is 2 for ECS, otherwise 1."""
    if by == "gce":
        return generalized_cross_entropy(logits[0], target, GCE_EXPONENT).mean()
    losses = torch.stack([cross_entropy(of_network, target, reduction="none") for of_network in logits])  # [K, B]
    if by == "ecs":
        losses = peer_picking_weights(losses.detach(), target, eta, unlearn) * losses
    return losses.mean(dim=1).sum()
