"""XRM: cross-risk minimisation (Pezeshki et al., ICML 2024, arXiv:2309.16748), with Group DRO on the groups it finds.

Two networks are each trained on a random half of the training images. After each step, the label of an image becomes
the class that the other network predicts, with a probability that grows with its confidence, so that both learn the
bias alone. In the end, an image that either of them misclassifies is taken for bias-conflicting. A third network is
trained by Group DRO, whose groups are (target, misclassified) instead of (target, bias).

Deviations from the authors' code:
- The checkpoint is selected by the run's rule. That of the authors is `selection=best_valid_inferred`: the worst group
  found among validation images. They select the settings of the first training by the most flipped labels.
- Groups without images have weight 0, as in `group_dro`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from debiaslab.core.memory import copy_to
from debiaslab.core.randomness import torch_generator
from debiaslab.core.settings import positive, require, setting
from debiaslab.methods.balancing import one_over_size
from debiaslab.methods.base import SampleNotes, Task
from debiaslab.methods.group_dro import GroupDRO, equal_weights, group_means, one_over_root
from debiaslab.methods.phase import Batch, Phase, descend
from debiaslab.methods.published import AS_ERM_ELSEWHERE, DIGITS, OWN_IMAGES
from debiaslab.methods.recipes import merge, name_recipes
from debiaslab.models import Networks


class XRM(GroupDRO):
    @dataclass(frozen=True, kw_only=True)
    class Config(GroupDRO.Config):
        label_epochs: int | None = setting(20, "length of the training of the two networks", positive, part="epochs")
        label_steps: int | None = setting(
            None, "length of the training of the two networks in optimiser steps", positive, part="steps"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            epochs, steps = self.label_epochs, self.label_steps
            require((epochs is None) != (steps is None), "label_epochs", epochs, "set, or label_steps, not both")

    RECIPES = merge(
        name_recipes("debiaslab", DIGITS, label_epochs=None, label_steps=500),
        name_recipes("debiaslab", OWN_IMAGES, label_epochs=None, label_steps=2_500),
    )
    UNPUBLISHED = {
        **AS_ERM_ELSEWHERE,
        "photographs": AS_ERM_ELSEWHERE["photographs"].with_hparams(label_epochs=None, label_steps=2_500),
    }

    SAMPLE_STATE = ("group_weight", "label", "mistaken", "is_labelled")
    needs_bias = False
    infers_groups = True
    can_be_captured = can_be_stacked = True  # the training by Group DRO

    config: Config
    label: Tensor  # int64 [N]: the labels that the two networks are trained with, at first the targets
    mistaken: Tensor  # bool [N]: whether either network misclassifies the image; all False before the end
    is_labelled: Tensor  # bool []: whether the training of the two networks has ended
    target: Tensor  # int64 [N]
    of_second: Tensor  # bool [N]: the images that the second network is trained on, and the first is not

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, replace(task, train_bias=torch.zeros_like(task.train_target), num_biases=2))
        self.seed, size = task.seed, len(task.train_target)
        self.first, self.second = networks.classifier("first"), networks.classifier("second")
        self.label_optimizer = self.optimizer_of(self.first, self.second)
        half = torch.rand(size, generator=torch_generator(task.seed, "halves")) < 0.5
        self.valid_groups: Tensor | None = None  # int64, from `use_groups`
        self.register_buffer("of_second", half, persistent=False)
        self.register_buffer("target", task.train_target, persistent=False)
        self.register_buffer("label", task.train_target.clone())
        self.register_buffer("mistaken", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("is_labelled", torch.zeros((), dtype=torch.bool))

    def phases(self) -> Sequence[Phase]:
        (train,) = super().phases()
        label = self.phase(
            "label",
            update=self.update_labels,
            logits=lambda image: {"biased": self.first(image), "second": self.second(image)},
            features=lambda image: {"biased": self.first.encoder(image)},
            training=[self.first, self.second],
            optimizers={"label": self.label_optimizer},
            epochs=self.config.label_epochs,
            num_steps=self.config.label_steps,
            finish=self.find_mistakes,
        )
        weights = (lambda: one_over_size(self.groups())) if self.config.reweight_groups else None
        return [label, replace(train, sampling_weights=weights, begin=self.use_groups)]

    # ---- the first training

    def update_labels(self, batch: Batch) -> dict[str, Tensor]:
        first, second = self.first(batch.image), self.second(batch.image)
        of_second, label = self.of_second[batch.index, None], self.label[batch.index]
        loss = class_sum_of_means(torch.where(of_second, second, first), label)
        descend(loss, self.label_optimizer)
        held_out = torch.where(of_second, first, second).detach()
        self.label[batch.index] = flipped_labels(label, held_out, self.draws(batch))
        return {"loss": loss.detach(), "flipped": (self.label != self.target).float().mean()}

    def draws(self, batch: Batch) -> Tensor:
        """Random numbers in [0, 1), float32 [B], a function of seed and step."""
        generator = torch_generator(self.seed, "flips", batch.step)
        return copy_to(torch.rand(len(batch.index), generator=generator), batch.index.device)

    @torch.no_grad()
    def find_mistakes(self, training_images: Iterable[Batch]) -> None:
        for batch in training_images:
            self.mistaken[batch.index] = self.is_mistaken(batch)
        self.is_labelled.fill_(True)
        self.group_weight.copy_(equal_weights(self.group_counts()))

    def is_mistaken(self, batch: Batch) -> Tensor:
        """Whether either network misclassifies an image, bool [B]."""
        first, second = (own(batch.image).argmax(dim=1) != batch.target for own in (self.first, self.second))
        mistaken: Tensor = first | second
        return mistaken

    # ---- Group DRO on (target, mistaken)

    @torch.no_grad()
    def use_groups(self, training_images: Iterable[Batch], validation_images: Iterable[Batch] | None) -> None:
        """Set the penalty of the groups, and infer those of the validation images, if there are any."""
        self.penalty.copy_(self.config.adjustment * one_over_root(self.group_counts()))
        if validation_images is not None:
            groups = [batch.target * 2 + self.is_mistaken(batch).long() for batch in validation_images]
            self.valid_groups = torch.cat(groups)

    def inferred_groups(self) -> Tensor | None:
        return self.valid_groups

    def groups(self) -> Tensor:
        """The group of each training image, int64 [N]."""
        return self.target * 2 + self.mistaken.long()

    def group_counts(self) -> Tensor:
        return self.groups().bincount(minlength=len(self.group_weight))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return super().losses(replace(batch, bias=self.mistaken[batch.index].long()))

    def sample_notes(self) -> SampleNotes:
        """Misclassified images count as bias-conflicting."""
        return SampleNotes(kept=~self.mistaken, conflicting=self.mistaken) if self.is_labelled else SampleNotes()


def class_sum_of_means(logits: Tensor, label: Tensor) -> Tensor:
    """The sum over the classes of their mean cross-entropy, a scalar, of logits [B, C] for labels int64 [B]."""
    losses = cross_entropy(logits, label, reduction="none")
    return group_means(losses, label, logits.shape[1]).sum()


def flipped_labels(label: Tensor, logits: Tensor, draws: Tensor) -> Tensor:
    """The labels int64 [B] after flips to the class that the logits [B, C] predict.

    Its probability p flips a label with probability (p - 1/C) C / (C - 1): where `draws`, float32 [B], are below that.
    """
    probability, predicted = softmax(logits, dim=1).max(dim=1)
    num_classes = logits.shape[1]
    return torch.where(draws < (probability - 1 / num_classes) * num_classes / (num_classes - 1), predicted, label)
