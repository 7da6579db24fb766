"""LC: logit correction (Liu et al., ICLR 2023, arXiv:2212.01433).

A biased network is trained with generalised cross-entropy; the class that it predicts, b, stands for the bias. A table
estimates P(y | b) for each class y and each b. As in the bias-balanced loss, the logarithm of its column is added to
the logits of a second network, which need not explain what the bias says about the class. That network is trained on
mixtures (group mixup): each image with another one of its class on which the biased network fails.

Deviations from the authors' code:
- With a step schedule, the learning rate decays after `lr_decay_steps` updates; theirs decays one update earlier.
- Their average over epochs (`avg_type` epoch) and mixtures of features (for text) are not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from debiaslab.core.memory import copy_to
from debiaslab.core.randomness import numpy_generator, torch_generator
from debiaslab.core.settings import choice, must_be, not_negative, positive, setting
from debiaslab.methods.base import Method, SampleNotes, Task
from debiaslab.methods.declarations import drop_last_setting, gce_exponent
from debiaslab.methods.losses import generalized_cross_entropy, membership, of_class
from debiaslab.methods.optimizers import build_optimizer
from debiaslab.methods.phase import Batch, Phase, descend
from debiaslab.methods.published import ANY_OF_LEE, DIGITS, LIU_2023, OWN_IMAGES
from debiaslab.methods.ranges import GCE_EXPONENT, LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge, name_recipes, stand_ins
from debiaslab.methods.schedules import ScheduledConfig
from debiaslab.models import Networks

AVERAGES = ("mv", "mv_batch", "batch")
EPSILON = 1e-4  # added to probabilities before the logarithm, and to counts


class LC(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(ScheduledConfig):
        q: float = gce_exponent()
        tau: float = setting(1.0, "softmax temperature of the biased network's probabilities in the table", positive)
        avg_type: str = setting(
            "mv",
            "average in the table: mv (moving, over images), mv_batch (over batches), batch (one)",
            choice(AVERAGES),
        )
        ema_alpha: float = setting(
            0.9, "decay of moving averages in the table", must_be("0 or more, below 1", lambda decay: 0 <= decay < 1)
        )
        normalize: bool = setting(True, "divide the columns of the table by their sums; their code does not on digits")
        curr_step: int = setting(0, "steps over which the mixtures grow to full strength", not_negative, part="steps")
        lambda_dis_align: float = setting(1.0, "weight of the biased network's loss", positive)
        biased_rate: float = setting(
            0.1, "learning rate of the biased network, relative to that of the other", positive
        )
        drop_last: bool = drop_last_setting(False)

        def without_effect(self) -> dict[str, tuple[str, ...]]:
            own = {"avg_type=batch": ("ema_alpha",)} if self.avg_type == "batch" else {}
            return super().without_effect() | own

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "q": GCE_EXPONENT,
        "tau": SearchRange(text="choice(0.1, 1.0)", source="LC code"),
        "ema_alpha": SearchRange(text="choice(0.5, 0.9, 0.995)", source="LC code"),
    }
    RECIPES = merge(name_recipes("debiaslab", DIGITS | OWN_IMAGES), name_recipes("liu2023", LIU_2023))
    UNPUBLISHED = {
        **stand_ins(ANY_OF_LEE),
        "digits": replace(
            ANY_OF_LEE["digits"].with_hparams(normalize=False, ema_alpha=0.5, curr_step=470),
            source="none published: LC code's network and DPR code's settings for its digits, DisEnt's rate and length",
        ),
    }

    SAMPLE_STATE = ("table", "filled", "pseudo_bias")
    needs_whole_batch = True
    can_be_stacked = can_be_captured = False  # each step draws new mixtures

    config: Config
    table: Tensor  # M, float32 [num_classes, num_classes]: by target and pseudo-bias
    filled: Tensor  # bool, like `table`: cells that have had an image
    target: Tensor  # int64 [N]
    pseudo_bias: Tensor  # int64 [N]: the latest b of each training image; at first, its target

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.seed, size = task.seed, (task.num_classes, task.num_classes)
        self.biased, self.debiased = networks.classifier("biased"), networks.classifier("debiased")
        self.register_buffer("table", torch.zeros(size))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("pseudo_bias", task.train_target.clone())
        self.register_buffer("target", task.train_target, persistent=False)
        biased_rate = config.biased_rate * config.learning_rate
        self.optimizers = {
            "biased": build_optimizer(config.optimizer, [self.biased], biased_rate, config.weight_decay),
            "debiased": self.optimizer_of(self.debiased),
        }

    def phases(self) -> Sequence[Phase]:
        return [
            self.phase(
                "train",
                update=self.update,
                logits=lambda image: {"debiased": self.debiased(image), "biased": self.biased(image)},
                features=lambda image: {"debiased": self.debiased.encoder(image), "biased": self.biased.encoder(image)},
                training=[self.biased, self.debiased],
                optimizers=self.optimizers,
            )
        ]

    def update(self, batch: Batch) -> dict[str, Tensor]:
        biased_logits = self.biased(batch.image)
        bias = self.observe(batch, biased_logits.detach())
        share, partner = self.share(batch.step), self.partners(batch, bias)
        correction = self.correction(bias)
        image = torch.lerp(batch.image[partner], batch.image, share)
        correction = torch.lerp(correction[partner], correction, share)
        debiased_loss = logit_correction_loss(self.debiased(image), batch.target, correction)
        biased_loss = self.config.lambda_dis_align * generalized_cross_entropy(
            biased_logits, batch.target, self.config.q
        )
        terms = {"biased": biased_loss.mean(), "debiased": debiased_loss.mean()}
        loss = terms["biased"] + terms["debiased"]
        descend(loss, *self.optimizers.values())
        return {"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def observe(self, batch: Batch, biased_logits: Tensor) -> Tensor:
        """Update the table with the biased network's logits [B, num_classes]; returns the pseudo-bias int64 [B]."""
        probability = softmax(biased_logits / self.config.tau, dim=1)
        bias = probability.argmax(dim=1)
        self.pseudo_bias[batch.index] = bias
        cell = batch.target * len(self.table) + bias
        values = of_class(probability, batch.target)
        average, decay = self.config.avg_type, self.config.ema_alpha
        if average == "mv":
            old = self.table.flatten(), self.filled.flatten()
            table = moving_averages(*old, cell, values, decay)
        else:
            members = membership(cell, self.table.numel(), values)
            table = values @ members / (members.sum(dim=0) + EPSILON)
            if average == "mv_batch":
                table = decay * self.table.flatten() + (1 - decay) * table
        self.table.copy_(table.view_as(self.table))
        self.filled[batch.target, bias] = True
        return bias

    def correction(self, bias: Tensor) -> Tensor:
        """The column of the table for each pseudo-bias, int64 [B]; returns [B, num_classes]."""
        columns = self.table.t()[bias]
        return columns / columns.sum(dim=1, keepdim=True) if self.config.normalize else columns

    def share(self, step: int) -> float:
        """The share of the image itself in its mixture at this step: uniform in [1 - 2t, 1 - t); t grows to 1/2."""
        remaining = 1 - step / self.config.curr_step if step < self.config.curr_step else 0.0
        strength = 0.5 * exp(-5 * remaining**2)
        return 1 - strength * (2 - numpy_generator(self.seed, "share", step).random())

    def partners(self, batch: Batch, bias: Tensor) -> Tensor:
        """The other image of each mixture, int64 [B], a function of seed, step and the pseudo-bias int64 [B]."""
        draws = torch.rand(2, len(bias), generator=torch_generator(self.seed, "partners", batch.step))
        return choose_partners(batch.target, bias != batch.target, copy_to(draws, bias.device))

    def predict(self, image: Tensor) -> Tensor:
        logits: Tensor = self.debiased(image)
        return logits

    def sample_notes(self) -> SampleNotes:
        """Images that the biased network misclassified when they were last in a batch count as bias-conflicting."""
        return SampleNotes(conflicting=self.pseudo_bias != self.target)


def logit_correction_loss(logits: Tensor, target: Tensor, correction: Tensor) -> Tensor:
    """The cross-entropies [B] of logits [B, C] + log(correction [B, C] + 1e-4) for the target int64 [B] (eq. 6)."""
    return cross_entropy(logits + (correction + EPSILON).log(), target, reduction="none")


def moving_averages(old: Tensor, filled: Tensor, cell: Tensor, values: Tensor, decay: float) -> Tensor:
    """Moving averages [K] after `values` [B], each of its `cell`, int64 [B], have been added one after the other.

    `old` [K] are the averages before; where `filled`, bool [K], is False, the first value is the average.
    """
    same = cell[:, None] == cell
    earlier, later = same.tril(-1).sum(dim=1), same.triu(1).sum(dim=1)  # in the same cell
    members = membership(cell, len(old), values)
    start = torch.where(filled, old, (values * (earlier == 0)) @ members)
    return decay ** members.sum(dim=0) * start + (1 - decay) * (values * decay**later) @ members


def choose_partners(target: Tensor, conflicting: Tensor, draws: Tensor) -> Tensor:
    """For each image a random one of the same class, int64 [B]: of those that are `conflicting`, bool [B], with
    replacement; if a class has none, its images are permuted. `draws` [2, B] are random numbers in [0, 1)."""
    same = target[:, None] == target
    candidate = same & conflicting
    number = (draws[0] * candidate.sum(dim=1)).long() + 1  # of the candidate, from 1
    drawn = candidate & (candidate.cumsum(dim=1) == number[:, None])
    place = same.tril(-1).sum(dim=1)  # within the class
    random_place = (same & (draws[1] < draws[1][:, None])).sum(dim=1)
    permuted = same & (random_place == place[:, None])
    return torch.where(candidate.any(dim=1, keepdim=True), drawn, permuted).int().argmax(dim=1)
