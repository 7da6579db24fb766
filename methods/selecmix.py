"""SelecMix: contradicting pairs (Hwang et al., NeurIPS 2022, arXiv:2211.02291), as V+SelecMix and L+SelecMix.

A contrastive network learns features in which images with the same bias are close, as its loss favours pairs that are
easy. With them, each image is mixed with the least similar one of its class or with the most similar one of another
class, and the mixture has the label of that partner, whose share is larger. `selecmix` trains a network on mixtures
only; `lff_selecmix` trains the debiased network of LfF on them, too.

Deviations from the authors' code:
- The contrastive network has the architecture of the classifier and a projection head; theirs is always a ResNet-18 for
  small images, for MNIST as well. Where that architecture has no batch norm, the features are normalised by one.
- A partner of another class is one even if all similarities are negative; in their code it is then any image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.modules.batchnorm import _BatchNorm

from debiaslab.core.memory import copy_to
from debiaslab.core.randomness import numpy_generator, torch_generator
from debiaslab.core.settings import not_negative, positive, setting
from debiaslab.methods.base import Method, MethodConfig, SampleNotes, Task
from debiaslab.methods.declarations import drop_last_setting, gce_exponent, running_loss_decay
from debiaslab.methods.losses import generalized_cross_entropy
from debiaslab.methods.optimizers import OPTIMIZER, build_optimizer
from debiaslab.methods.per_sample import RelativeDifficulty
from debiaslab.methods.phase import Batch, Phase, descend
from debiaslab.methods.published import ANY_OF_LEE, DIGITS, LEE, LEE_2021_BASELINE, OWN_IMAGES
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import Recipe, merge, name_recipes, stand_ins, steps
from debiaslab.models import Networks

PROJECTION = 128  # outputs of the projection head
EPSILON = 1e-9  # added to sums of exponentials

_EPOCHS = {"batch_size": 1_024, "num_steps": None}
_SMALL_IMAGES = {**_EPOCHS, "learning_rate": 1e-3, "contrastive_learning_rate": 1e-3, "epochs": 300}
HWANG = {
    "cifar10c": replace(LEE_2021_BASELINE["cifar10c"], source="SelecMix code, cifar10c").with_hparams(**_SMALL_IMAGES),
    "bffhq": replace(LEE["bffhq"], source="SelecMix code, bffhq").with_hparams(
        batch_size=256, num_steps=None, epochs=200, contrastive_optimizer="sgd", contrastive_learning_rate=0.4
    ),
}
_DIGITS = {**_EPOCHS, "learning_rate": 5e-3, "contrastive_learning_rate": 1e-2, "epochs": 200}
ELSEWHERE: dict[str, Recipe] = stand_ins(
    {
        "digits": replace(
            ANY_OF_LEE["digits"], source="SelecMix code, cmnist, but a small contrastive network: the MLP"
        ).with_hparams(**_DIGITS),
        "small images": HWANG["cifar10c"],
        "photographs": OWN_IMAGES["custom"].with_hparams(batch_size=256, **steps(2_500)),
        "clips": ANY_OF_LEE["clips"].with_hparams(**steps(5_000)),
    }
)


class SelecMix(Method):
    """`selecmix`, V+SelecMix. A training batch is cut into `mini_batches` at random, with an update on each."""

    @dataclass(frozen=True, kw_only=True)
    class Config(MethodConfig):
        q: float = gce_exponent()
        tau: float = setting(0.2, "temperature of the contrastive loss", positive)
        mini_batches: int = setting(
            4, "parts of a batch: partners are from the batch, each part is an update", positive
        )
        mixed_weight: float = setting(1.0, "a: weight of the loss on mixtures", not_negative)
        plain_weight: float = setting(0.0, "b: weight of the loss on images that are not mixed", not_negative)
        contrastive_optimizer: str = setting("adam", "optimiser of the contrastive network", OPTIMIZER)
        contrastive_learning_rate: float = setting(1e-3, "learning rate of the contrastive network", positive)
        contrastive_weight_decay: float = setting(1e-4, "weight decay of the contrastive network", not_negative)
        drop_last: bool = drop_last_setting(True)

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "contrastive_learning_rate": LEARNING_RATE,
        "tau": SearchRange(text="log(0.05, 1)"),
    }
    RECIPES = merge(
        name_recipes("debiaslab", DIGITS, batch_size=128, **steps(375)),
        name_recipes("debiaslab", OWN_IMAGES, batch_size=256, **steps(2_500)),
        name_recipes("hwang2022", HWANG),
    )
    UNPUBLISHED = ELSEWHERE

    needs_whole_batch = True
    can_be_stacked = can_be_captured = False  # several updates per batch, on random parts of it

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.seed = task.seed
        self.classifier = networks.classifier("classifier")
        self.encoder = networks.encoder("contrastive")
        width = self.encoder.feature_dim
        hidden, last = networks.head("contrastive hidden", width, width), networks.head("projection", width, PROJECTION)
        # without batch norm, as in their ResNet-18, the features of images with small values are all alike
        normed = any(isinstance(module, _BatchNorm) for module in self.encoder.modules())
        scale = [] if normed else [nn.BatchNorm1d(width)]
        self.projection = nn.Sequential(*scale, hidden, nn.ReLU(), last)
        rates = config.contrastive_learning_rate, config.contrastive_weight_decay
        self.optimizers = {
            "classifier": self.optimizer_of(self.classifier),
            "contrastive": build_optimizer(config.contrastive_optimizer, [self.encoder, self.projection], *rates),
        }

    def phases(self) -> Sequence[Phase]:
        return [
            self.phase(
                "train",
                update=self.update,
                logits=lambda image: {"classifier": self.classifier(image)},
                features=lambda image: {"classifier": self.classifier.encoder(image)},
                training=[self.classifier, self.encoder, self.projection],
                optimizers=self.optimizers,
            )
        ]

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the mean losses of the parts of the batch."""
        mixed = self.mix(batch)
        parts = [self.update_part(batch, mixed, part) for part in self.cut(batch)]
        return {name: torch.stack([scalars[name] for scalars in parts]).mean() for name in parts[0]}

    def update_part(self, batch: Batch, mixed: Batch, part: Tensor) -> dict[str, Tensor]:
        """One update of all networks, on the images `part`, int64 [b], of the batch."""
        terms = self.classifier_losses(part_of(batch, part), part_of(mixed, part))
        loss = terms["plain"] + terms["mixed"] + terms.get("biased", 0.0)
        descend(loss, *(optimizer for name, optimizer in self.optimizers.items() if name != "contrastive"))
        projected = self.project(batch.image[part])
        contrastive = contrastive_loss(projected, batch.target[part], self.config.tau, self.config.q)
        descend(contrastive, self.optimizers["contrastive"])
        return {name: value.detach() for name, value in {"loss": loss, **terms, "contrastive": contrastive}.items()}

    def classifier_losses(self, batch: Batch, mixed: Batch) -> dict[str, Tensor]:
        """The terms of the classifiers' loss on images and on their mixtures."""
        plain = torch.zeros((), device=batch.image.device)
        if self.config.plain_weight:
            plain = self.config.plain_weight * cross_entropy(self.classifier(batch.image), batch.target)
        return {"plain": plain, "mixed": self.mixed_loss(mixed)}

    def mixed_loss(self, mixed: Batch) -> Tensor:
        loss: Tensor = self.config.mixed_weight * cross_entropy(self.classifier(mixed.image), mixed.target)
        return loss

    def project(self, image: Tensor) -> Tensor:
        """Contrastive features of length 1, [B, PROJECTION]."""
        features: Tensor = normalize(self.projection(self.encoder(image)), dim=1)
        return features

    # ---- mixtures

    @torch.no_grad()
    def mix(self, batch: Batch) -> Batch:
        """The mixture of each image with its partner, and its target."""
        # one kind for the whole batch, as in their code
        same_class = numpy_generator(self.seed, "kind", batch.step).random() > 0.5
        share = 0.5 * torch.rand(len(batch.index), generator=torch_generator(self.seed, "mix", batch.step))
        return self.mix_with(batch, same_class, copy_to(share, batch.image.device))

    def mix_with(self, batch: Batch, same_class: bool, share: Tensor) -> Batch:
        """`share` [B] of each image, and the rest of its partner, whose target the mixture has."""
        features = self.project(batch.image)
        partner = contradicting_partners(features @ features.t(), batch.target, same_class)
        share = share.view(-1, *[1] * (batch.image.dim() - 1))
        image = share * batch.image + (1 - share) * batch.image[partner]
        return replace(batch, image=image, target=batch.target[partner])

    def cut(self, batch: Batch) -> Sequence[Tensor]:
        """Random parts of the batch, of equal size, at least 2 (batch norm needs two); a rest is left out."""
        size = max(min(2, len(batch.index)), len(batch.index) // self.config.mini_batches)
        order = torch.randperm(len(batch.index), generator=torch_generator(self.seed, "parts", batch.step))
        parts = torch.split(copy_to(order, batch.index.device), size)
        return [part for part in parts if len(part) == size]


class LfFSelecMix(SelecMix):
    """`lff_selecmix`, L+SelecMix: the classifier is the debiased network of LfF, whose biased one sees no mixtures."""

    @dataclass(frozen=True, kw_only=True)
    class Config(SelecMix.Config):
        mixed_weight: float = 0.1
        plain_weight: float = 1.0
        ema_decay: float = running_loss_decay()

    SAMPLE_STATE = ("difficulty.",)

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.biased = networks.classifier("biased")
        self.difficulty = RelativeDifficulty(task.train_target, task.num_classes, config.ema_decay)
        self.optimizers["biased"] = self.optimizer_of(self.biased)

    def phases(self) -> Sequence[Phase]:
        (train,) = super().phases()
        return [
            replace(
                train,
                logits=lambda image: {"classifier": self.classifier(image), "biased": self.biased(image)},
                training=[*train.training, self.biased],
            )
        ]

    def predict(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(image)
        return logits

    def classifier_losses(self, batch: Batch, mixed: Batch) -> dict[str, Tensor]:
        biased_logits, logits = self.biased(batch.image), self.classifier(batch.image)
        losses = [cross_entropy(own, batch.target, reduction="none") for own in (biased_logits, logits)]
        weight = self.difficulty.weigh(batch.index, losses[0].detach(), losses[1].detach())
        return {
            "plain": self.config.plain_weight * (weight * losses[1]).mean(),
            "mixed": self.mixed_loss(mixed),
            "biased": generalized_cross_entropy(biased_logits, batch.target, self.config.q).mean(),
        }

    def sample_notes(self) -> SampleNotes:
        return self.difficulty.notes()


def part_of(batch: Batch, part: Tensor) -> Batch:
    return replace(batch, image=batch.image[part], target=batch.target[part], index=batch.index[part])


def contradicting_partners(similarity: Tensor, target: Tensor, same_class: bool) -> Tensor:
    """The partner of each image, int64 [B], by similarities [B, B]: the least similar one of its class, or the most
    similar one of the other classes."""
    same = target[:, None] == target
    if same_class:
        return similarity.masked_fill(~same, float("inf")).argmin(dim=1)
    return similarity.masked_fill(same, float("-inf")).argmax(dim=1)


def contrastive_loss(features: Tensor, target: Tensor, temperature: float, q: float) -> Tensor:
    """Supervised contrastive loss of features [B, F] of length 1, each pair weighted as in generalised cross-entropy.

    A positive pair has the weight q p^q, with p the probability of the other image among all but the image itself; the
    mean is over the positives of an image, then over all images. A scalar.
    """
    similarity = features @ features.t() / temperature
    logits = similarity - similarity.detach().amax(dim=1, keepdim=True)
    others = ~torch.eye(len(target), dtype=torch.bool, device=target.device)
    log_probability = logits - ((logits.exp() * others).sum(dim=1, keepdim=True) + EPSILON).log()
    weight = q * (q * log_probability.detach()).exp()
    positives = (target[:, None] == target) & others
    of_image = (weight * log_probability * positives).sum(dim=1) / positives.sum(dim=1).clamp(min=1)
    return -of_image.mean()
