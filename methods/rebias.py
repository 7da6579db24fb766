"""ReBias: learning de-biased representations with biased representations (Bahng et al., ICML 2020, arXiv:1910.02806).

A biased network g with a small receptive field can learn little but the bias. The target network f is trained to
classify with features that are independent of g's, as measured by HSIC, while g is trained to be as dependent on f as
possible.

Deviations from the authors' code, in addition to those of `vanilla_biased`:
- `sigma=median`: their median is over 25 % of the training batches, computed before each epoch. Ours uses the first
  25 % of the epoch's batches (which are in random order), each just before it is trained on, and sigma^2 is the mean of
  the medians of the batches so far: about the same after these batches, and noisier during them.
- HSIC is 0 in batches that are too small for the estimator: fewer than 4 images (unbiased) or 2 (biased).
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.core.settings import choice, must_be, not_negative, setting
from debiaslab.methods.base import Task
from debiaslab.methods.hsic import ESTIMATORS, median_squared_distance
from debiaslab.methods.phase import Batch
from debiaslab.methods.published import BAHNG
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge
from debiaslab.methods.vanilla_biased import Outputs, VanillaBiased, outputs_of
from debiaslab.models import Networks

FEATURES = ("post", "pre", "logits")
MEDIAN_SHARE = 0.25  # fraction of an epoch's batches
LEAST_SIGMA = 1e-6  # used if all features of the batches are equal


class ReBias(VanillaBiased):
    @dataclass(frozen=True, kw_only=True)
    class Config(VanillaBiased.Config):
        f_lambda: float = setting(1.0, "weight of HSIC in the loss of f", not_negative)
        g_lambda: float = setting(1.0, "weight of -HSIC in the loss of g", not_negative)
        features: str = setting(
            "post",
            "features to make independent: post (after global pooling), pre (before pooling), logits",
            choice(FEATURES),
        )
        hsic: str = setting("unbiased", "estimator of HSIC: unbiased, biased", choice(ESTIMATORS))
        sigma: float | str = setting(
            1.0,
            "kernel width: a number, or median (of the distances, for each network)",
            must_be(
                "a positive number, or median",
                lambda sigma: sigma == "median" if isinstance(sigma, str) else sigma > 0,
            ),
        )

    SEARCH = {"learning_rate": LEARNING_RATE, "f_lambda": SearchRange(), "g_lambda": SearchRange()}

    RECIPES = merge(
        VanillaBiased.RECIPES, {"imagenet9": {"bahng2020": BAHNG["imagenet9"].with_hparams(sigma="median")}}
    )

    needs_whole_batch = True

    def __init__(self, config: Any, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.steps_per_epoch = ceil(len(task.train_target) / config.batch_size)
        self.median_sums: Tensor  # sums of f's and g's median squared distances over this epoch's observed batches
        self.num_medians: Tensor
        self.register_buffer("median_sums", torch.zeros(2))
        self.register_buffer("num_medians", torch.zeros(()))

    def update(self, batch: Batch) -> dict[str, Tensor]:
        if self.config.sigma == "median":
            self.observe_distances(batch)
        return super().update(batch)

    def g_loss(self, g: Outputs, f: Outputs, batch: Batch) -> Tensor:
        loss = super().g_loss(g, f, batch)
        return loss - self.config.g_lambda * self.dependence(f, g) if self.config.g_lambda else loss

    def f_losses(self, f: Outputs, batch: Batch) -> dict[str, Tensor]:
        if not self.config.f_lambda:
            return super().f_losses(f, batch)
        classification = cross_entropy(f.logits, batch.target)
        hsic = self.dependence(f, self.g_outputs(batch.image))
        loss = classification + self.config.f_lambda * hsic
        return {"loss": loss, "cross_entropy": classification, "hsic": hsic}

    def dependence(self, f: Outputs, g: Outputs) -> Tensor:
        """HSIC of the features of f and g."""
        sigma_f, sigma_g = self.sigmas()
        return ESTIMATORS[self.config.hsic](self.features_of(f), self.features_of(g), sigma_f, sigma_g)

    def features_of(self, outputs: Outputs) -> Tensor:
        """The configured features, flattened to [B, F]."""
        position = self.config.features
        chosen = {"post": outputs.features, "pre": outputs.feature_map, "logits": outputs.logits}[position]
        return chosen.flatten(1)

    def sigmas(self) -> tuple[float | Tensor, float | Tensor]:
        """The kernel widths for f and g."""
        if self.config.sigma != "median":
            return self.config.sigma, self.config.sigma
        sigma_f, sigma_g = (self.median_sums / self.num_medians).sqrt().clamp(min=LEAST_SIGMA)
        return sigma_f, sigma_g

    @torch.no_grad()
    def observe_distances(self, batch: Batch) -> None:
        """Accumulate the batch's median distances if it is one of the epoch's first batches."""
        position = batch.step % self.steps_per_epoch
        if position == 0:
            self.median_sums.zero_()
            self.num_medians.zero_()
        if position < ceil(MEDIAN_SHARE * self.steps_per_epoch):
            features = [self.features_of(outputs_of(network, batch.image)) for network in (self.f, self.g)]
            self.median_sums += torch.stack([median_squared_distance(values) for values in features])
            self.num_medians += 1
