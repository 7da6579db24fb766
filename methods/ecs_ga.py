"""ECS+GA: bias-conflicting scoring and gradient alignment (Zhao et al., 2021, arXiv:2111.13108).

Two networks are trained on the images that both find easy, and unlearn those that only one finds easy (peer picking).
The score of an image is 1 minus the probability of its class, averaged over both networks and all epochs (epoch
ensemble). Images with a high score, the hard ones, are taken for bias-conflicting. A third network is trained on
batches with some of them, in which the easy images weigh so much that the gradients of both have the same size.

Deviations from the authors' code:
- The number of hard images in a batch is random, on average theirs, as images are drawn with replacement. There it is
  fixed, and the images of each kind are shuffled.
- Without hard or without easy images, the third network is trained by ERM; their code ends with an error.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.core.settings import between, must_be, positive, require, setting
from debiaslab.methods.base import SampleNotes, Task
from debiaslab.methods.erm import ERM
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import AS_ERM_ELSEWHERE, DIGITS, NAM, OWN_IMAGES
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge, name_recipes
from debiaslab.models import Networks

UNLEARN = -1e-4  # weight of images that only the network itself finds easy, from the second epoch on
EPSILON = 1e-10  # added to the sums of gradient sizes and of weights

ZHAO = {
    "colored_mnist": replace(NAM["colored_mnist"], source="ECS+GA code, mnist", model_hparams={}).with_hparams(
        num_steps=None, epochs=200, eta=0.5
    ),
    "corrupted_cifar10": replace(NAM["corrupted_cifar10"], source="ECS+GA code, cifar").with_hparams(
        num_steps=None, epochs=200
    ),
}


class ECSGA(ERM):
    @dataclass(frozen=True, kw_only=True)
    class Config(ERM.Config):
        score_epochs: int | None = setting(50, "length of the training of the two networks", positive, part="epochs")
        score_steps: int | None = setting(
            None, "length of the training of the two networks in optimiser steps", positive, part="steps"
        )
        eta: float = setting(
            0.1,
            "easy is a probability above this share of the highest one of the class in the batch",
            must_be("0 or more, below 1", lambda share: 0 <= share < 1),
        )
        hard_score: float = setting(0.8, "tau: images with a score of at least this are hard", between(0, 1))
        gamma: float = setting(
            1.6, "the gradients of the hard images are this many times those of the easy ones", positive
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            epochs, steps = self.score_epochs, self.score_steps
            require((epochs is None) != (steps is None), "score_epochs", epochs, "set, or score_steps, not both")

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "eta": SearchRange(text="choice(0.1, 0.5, 0.9)", source="ECS+GA code"),
        "gamma": SearchRange(text="uniform(1, 2)", source="ours; the authors' are 1 and 1.6"),
    }
    RECIPES = merge(
        name_recipes("debiaslab", DIGITS, eta=0.5, score_epochs=None, score_steps=500),
        name_recipes("debiaslab", OWN_IMAGES, score_epochs=None, score_steps=2_500),
        name_recipes("zhao2021", ZHAO, drop_last=True),
    )
    UNPUBLISHED = {
        **AS_ERM_ELSEWHERE,
        "digits": AS_ERM_ELSEWHERE["digits"].with_hparams(eta=0.5),
        "photographs": AS_ERM_ELSEWHERE["photographs"].with_hparams(score_epochs=None, score_steps=2_500),
    }

    SAMPLE_STATE = ("easiness", "scored_epochs", "hard", "is_scored")
    needs_whole_batch = True

    config: Config
    easiness: Tensor  # float32 [N]: the sum over epochs of the mean probability of the class
    scored_epochs: Tensor  # int64 []: the number of those epochs
    hard: Tensor  # bool [N]: all False before the end of the scoring
    is_scored: Tensor  # bool []: whether it has ended

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.first, self.second = networks.classifier("first"), networks.classifier("second")
        self.scoring_optimizer = self.optimizer_of(self.first, self.second)
        self.register_buffer("easiness", torch.zeros(len(task.train_target)))
        self.register_buffer("scored_epochs", torch.zeros((), dtype=torch.int64))
        self.register_buffer("hard", torch.zeros(len(task.train_target), dtype=torch.bool))
        self.register_buffer("is_scored", torch.zeros((), dtype=torch.bool))

    def phases(self) -> Sequence[Phase]:
        (train,) = super().phases()
        score = self.phase(
            "score",
            losses=self.scoring_losses,
            logits=lambda image: {"biased": self.first(image), "second": self.second(image)},
            features=lambda image: {"biased": self.first.encoder(image)},
            training=[self.first, self.second],
            optimizers={"scoring": self.scoring_optimizer},
            epochs=self.config.score_epochs,
            num_steps=self.config.score_steps,
            finish_epoch=self.add_to_scores,
            finish=self.find_hard,
        )
        return [score, replace(train, sampling_weights=self.sampling_weights)]

    # ---- bias-conflicting scores

    def scoring_losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = torch.stack([self.first(batch.image), self.second(batch.image)])
        losses = torch.stack([cross_entropy(own, batch.target, reduction="none") for own in logits])  # [2, B]
        weight = peer_picking_weights(losses.detach(), batch.target, self.config.eta, self.scored_epochs > 0)
        return {"loss": (weight * losses).mean(dim=1).sum(), "cross_entropy": losses.mean()}

    @torch.no_grad()
    def add_to_scores(self, training_images: Iterable[Batch]) -> None:
        for batch in training_images:
            losses = [
                cross_entropy(own(batch.image), batch.target, reduction="none") for own in (self.first, self.second)
            ]
            self.easiness[batch.index] += torch.stack(losses).neg().exp().mean(dim=0)
        self.scored_epochs += 1

    def scores(self) -> Tensor:
        """Float32 [N], from 0 (bias-aligned) to 1 (bias-conflicting)."""
        return 1 - self.easiness / self.scored_epochs

    def find_hard(self, training_images: Iterable[Batch]) -> None:
        self.hard.copy_(self.scores() >= self.config.hard_score)
        self.is_scored.fill_(True)

    # ---- gradient alignment

    def sampling_weights(self) -> Tensor:
        """Such that a batch has on average as many hard images as the authors' batches; float64 [N]."""
        size, num_hard = len(self.hard), int(self.hard.sum())
        if num_hard in (0, size):
            return torch.ones(size, dtype=torch.float64, device=self.hard.device)
        batch_size = min(self.config.batch_size, size)
        share = min(num_hard * batch_size // size + 1, batch_size - 1) / batch_size
        share = share or num_hard / size  # batches of one image
        return torch.where(self.hard, share / num_hard, (1 - share) / (size - num_hard)).double()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        losses = cross_entropy(self.classifier(batch.image), batch.target, reduction="none")
        weight = gradient_alignment_weights(losses.detach(), self.hard[batch.index], self.config.gamma)
        is_aligned = self.hard.any() & ~self.hard.all()
        weight = torch.where(is_aligned, weight, torch.ones_like(weight))
        return {"loss": (weight * losses).mean(), "cross_entropy": losses.mean()}

    def sample_notes(self) -> SampleNotes:
        """`weight`: the expected number of draws of each image in an epoch. Hard images count as bias-conflicting."""
        if not self.is_scored:
            return SampleNotes(weight=torch.full_like(self.easiness, float("nan")))
        weight = self.sampling_weights().float()
        return SampleNotes(weight=weight / weight.mean(), conflicting=self.hard, kept=~self.hard)


def peer_picking_weights(losses: Tensor, target: Tensor, eta: float, unlearn: bool | Tensor) -> Tensor:
    """Weights [2, B] of the images of a batch in the loss of each network, from their cross-entropies [2, B].

    Easy are probabilities above `eta` times the highest of the class in the batch. The weight is 1 for images that both
    networks find easy; `UNLEARN`, or 0 if not `unlearn`, for those that only the network itself finds easy; 0 for all
    others.
    """
    probability = (-losses).exp()
    same = target[:, None] == target
    highest = torch.where(same, probability[:, None, :], 0.0).amax(dim=2)
    easy = probability > eta * highest
    peer = easy.flip(0)
    return (easy & peer).float() + UNLEARN * (easy & ~peer).float() * unlearn


def gradient_alignment_weights(losses: Tensor, hard: Tensor, gamma: float) -> Tensor:
    """Weights [B] with mean 1 for the cross-entropies [B] of a batch; `hard`, bool [B].

    1 - p(y | x) is the size of an image's gradient. Weighted, those of the hard images add up to `gamma` times those of
    the easy ones. All weights are 0 without hard images.
    """
    size = 1 - (-losses).exp()
    ratio = (size * hard).sum() / (gamma * (size * ~hard).sum() + EPSILON)
    weight = torch.where(hard, torch.ones_like(size), ratio)
    return weight / (weight.sum() + EPSILON) * len(weight)
