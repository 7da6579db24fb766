"""DPR: disagreement-probability-based resampling (Han et al., NeurIPS 2024, arXiv:2411.01757).

A biased network is trained with generalised cross-entropy. The probability that its prediction disagrees with the
label, 1 - p(y | x), is large for bias-conflicting images. A second network starts from its weights and is trained by
ERM on epochs of draws with replacement, with probabilities in proportion to that.

Deviations from the authors' code:
- The disagreement probabilities are computed on images without augmentation; theirs on augmented ones.
- The length of the first training is a setting; theirs is that of the second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import softmax

from debiaslab.core.settings import positive, require, setting
from debiaslab.methods.base import SampleNotes, Task
from debiaslab.methods.declarations import gce_exponent
from debiaslab.methods.erm import ERM
from debiaslab.methods.losses import generalized_cross_entropy, of_class
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import AS_ERM_ELSEWHERE, DIGITS, OWN_IMAGES
from debiaslab.methods.ranges import GCE_EXPONENT, LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge, name_recipes
from debiaslab.models import Networks

LEAST = 1e-8  # smallest disagreement probability


class DPR(ERM):
    @dataclass(frozen=True, kw_only=True)
    class Config(ERM.Config):
        q: float = gce_exponent()
        tau: float = setting(1.0, "softmax temperature of the disagreement probabilities", positive)
        biased_epochs: int | None = setting(
            None,
            "length of the first training; None, without biased_steps: that of the second",
            positive,
            part="epochs",
        )
        biased_steps: int | None = setting(
            None, "length of the first training in optimiser steps", positive, part="steps"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            epochs, steps = self.biased_epochs, self.biased_steps
            require(epochs is None or steps is None, "biased_epochs", epochs, "left out, or biased_steps")

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "q": GCE_EXPONENT,
        "tau": SearchRange(text="log(0.5, 5)"),
    }
    RECIPES = merge(name_recipes("debiaslab", DIGITS, biased_epochs=5), name_recipes("debiaslab", OWN_IMAGES))
    UNPUBLISHED = {
        **AS_ERM_ELSEWHERE,
        "digits": AS_ERM_ELSEWHERE["digits"].with_hparams(biased_epochs=2),
        "small images": AS_ERM_ELSEWHERE["small images"].with_hparams(biased_epochs=10),
    }

    SAMPLE_STATE = ("disagreement", "identified")

    config: Config
    disagreement: Tensor  # float32 [N]: the probability of another class than the target; 1 before the first has ended
    identified: Tensor  # bool []: whether it has ended

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.biased = networks.classifier("biased")
        self.biased_optimizer = self.optimizer_of(self.biased)
        self.register_buffer("disagreement", torch.ones(len(task.train_target)))
        self.register_buffer("identified", torch.zeros((), dtype=torch.bool))

    def phases(self) -> Sequence[Phase]:
        (train,) = super().phases()
        config = self.config
        own_length = {"epochs": config.biased_epochs, "num_steps": config.biased_steps}
        biased = self.phase(
            "biased",
            losses=self.biased_losses,
            logits=lambda image: {"biased": self.biased(image)},
            features=lambda image: {"biased": self.biased.encoder(image)},
            training=[self.biased],
            optimizers={"biased": self.biased_optimizer},
            finish=self.hand_over,
            **(own_length if any(own_length.values()) else {}),
        )
        return [biased, replace(train, sampling_weights=lambda: self.disagreement.double())]

    def biased_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": generalized_cross_entropy(self.biased(batch.image), batch.target, self.config.q).mean()}

    @torch.no_grad()
    def hand_over(self, training_images: Iterable[Batch]) -> None:
        """Compute the disagreement probabilities, and start the second network from the weights of the first."""
        for batch in training_images:
            probability = softmax(self.biased(batch.image) / self.config.tau, dim=1)
            self.disagreement[batch.index] = (1 - of_class(probability, batch.target)).clamp(min=LEAST)
        self.identified.fill_(True)
        self.classifier.load_state_dict(self.biased.state_dict())

    def sample_notes(self) -> SampleNotes:
        """`weight`: the expected number of draws of each image in an epoch. Images whose disagreement probability is
        above 1/2 count as bias-conflicting."""
        if not self.identified:
            return SampleNotes(weight=torch.full_like(self.disagreement, float("nan")))
        return SampleNotes(weight=self.disagreement / self.disagreement.mean(), conflicting=self.disagreement > 0.5)
