"""JTT: just train twice (Liu et al., ICML 2021, arXiv:2107.09044).

A network is trained briefly by ERM. The training images that it then misclassifies, the error set, are taken for
bias-conflicting. A second network, with the same initial weights, is trained on all images and further copies of those
in the error set.

Deviations from the authors' code:
- `copies` is their lambda_up: the error set is added that many times to the training images, as in their code. In their
  paper lambda_up is the weight of its images, which is one more.
- The authors select the length of the first training and of the second by the worst group of validation images. Here
  the first has a length of its own, and the second is selected like any other training.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.core.settings import not_negative, positive, require, setting
from debiaslab.methods.base import SampleNotes, Task
from debiaslab.methods.erm import ERM
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import AS_ERM_ELSEWHERE, DIGITS, LI, LIU, OWN_IMAGES
from debiaslab.methods.ranges import LEARNING_RATE, WEIGHT_DECAY, SearchRange
from debiaslab.methods.recipes import merge, name_recipes
from debiaslab.models import Networks


class JTT(ERM):
    @dataclass(frozen=True, kw_only=True)
    class Config(ERM.Config):
        identify_epochs: int | None = setting(1, "T: length of the first training", positive, part="epochs")
        identify_steps: int | None = setting(
            None, "length of the first training in optimiser steps, instead of epochs", positive, part="steps"
        )
        copies: int = setting(
            30, "lambda_up: further copies of each misclassified image in the second training", not_negative
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            epochs, steps = self.identify_epochs, self.identify_steps
            require((epochs is None) != (steps is None), "identify_epochs", epochs, "set, or identify_steps, not both")

        def without_effect(self) -> dict[str, tuple[str, ...]]:
            own = {} if self.copies else {"copies=0": ("identify_epochs", "identify_steps")}
            return super().without_effect() | own

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "identify_epochs": SearchRange(text="choice(1, 2, 5)"),
        "copies": SearchRange(text="choice(20, 50, 100)", source="JTT code"),
    }
    RECIPES = merge(
        name_recipes("debiaslab", DIGITS, identify_epochs=2),
        name_recipes("debiaslab", OWN_IMAGES),
        name_recipes("liu2021", LIU),
        name_recipes("li2023", LI, identify_epochs=1, copies=100),
    )
    UNPUBLISHED = AS_ERM_ELSEWHERE

    SAMPLE_STATE = ("wrong", "identified")

    config: Config
    wrong: Tensor  # bool [N]: in the error set; all False before the first training has ended
    identified: Tensor  # bool []: whether it has ended

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.identifier = networks.classifier("classifier")
        self.identifier_optimizer = self.optimizer_of(self.identifier)
        self.register_buffer("wrong", torch.zeros(len(task.train_target), dtype=torch.bool))
        self.register_buffer("identified", torch.zeros((), dtype=torch.bool))

    def phases(self) -> Sequence[Phase]:
        (train,) = super().phases()
        identify = self.phase(
            "identify",
            losses=self.identifier_losses,
            logits=lambda image: {"biased": self.identifier(image)},
            features=lambda image: {"biased": self.identifier.encoder(image)},
            training=[self.identifier],
            optimizers={"identifier": self.identifier_optimizer},
            epochs=self.config.identify_epochs,
            num_steps=self.config.identify_steps,
            finish=self.collect_errors,
        )
        return [identify, replace(train, positions=self.repeat_errors if self.config.copies else None)]

    def identifier_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": cross_entropy(self.identifier(batch.image), batch.target)}

    def repeat_errors(self) -> Tensor:
        """All training images, those in the error set 1 + `copies` times; int64 [M]."""
        times = 1 + self.config.copies * self.wrong.long()
        return torch.arange(len(times), device=times.device).repeat_interleave(times)

    @torch.no_grad()
    def collect_errors(self, training_images: Iterable[Batch]) -> None:
        """Fill the error set with the images that the first network misclassifies."""
        for batch in training_images:
            self.wrong[batch.index] = self.identifier(batch.image).argmax(dim=1) != batch.target
        self.identified.fill_(True)

    def sample_notes(self) -> SampleNotes:
        """The error set counts as bias-conflicting."""
        return SampleNotes(kept=~self.wrong, conflicting=self.wrong) if self.identified else SampleNotes()
