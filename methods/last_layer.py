"""Retraining of the last layer: a network is trained by ERM, and its last layer is then fitted again.

`dfr`: Deep Feature Reweighting (Kirichenko et al., ICLR 2023, arXiv:2204.02937). Logistic regressions with an L1
penalty on the features of validation images, in subsets with as many images of each (target, bias) group; the last
layer is their mean. It uses the bias labels of the validation images.

`afr`: Automatic Feature Reweighting (Qiu et al., ICML 2023, arXiv:2306.11074). The last layer is trained on images that
the network was not trained on, with more weight on those that it gets wrong. It uses no bias labels.

Deviations from the authors' code:
- dfr: with more than two classes, one multinomial regression (SAGA) instead of liblinear, which is for two.
- dfr: features are standardised by the mean and standard deviation of all training features in every step; their code
  takes those of the fitted images while it tunes the penalty.
- dfr: random subsets depend on the run's seed; in their code on a generator without a seed.
- afr: the last layer is that of ERM plus a correction that starts at 0, as in the authors' notebook.
- afr: no early stopping of its own. The checkpoint selection of the run takes its place; theirs reads bias labels.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from debiaslab.core.errors import UserError
from debiaslab.core.randomness import torch_generator
from debiaslab.core.settings import all_positive, must_be, not_negative, positive, setting
from debiaslab.methods.balancing import balanced_subset
from debiaslab.methods.base import Task
from debiaslab.methods.erm import ERM
from debiaslab.methods.losses import of_class
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import AS_ERM, AS_ERM_ELSEWHERE, KIRICHENKO, QIU
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge, name_recipes
from debiaslab.models import Networks

RETRAIN = "retrain"  # name of the phase
EVALUATE_STEPS = 50  # of afr


class LastLayer(ERM):
    """A phase of ERM, then a phase "retrain" in which the encoder is frozen."""

    @dataclass(frozen=True, kw_only=True)
    class Config(ERM.Config):
        retrain_only: bool = setting(False, "do not train the network: it is that of start_from")

        def needs_start(self) -> str | None:
            return "method.hparams.retrain_only=True" if self.retrain_only else super().needs_start()

    UNPUBLISHED = AS_ERM_ELSEWHERE

    starts_from_classifier = True

    config: Config

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.seed, self.num_classes = task.seed, task.num_classes

    def phases(self) -> Sequence[Phase]:
        training = [] if self.config.retrain_only else super().phases()
        return [*training, self.retraining()]

    def retraining(self) -> Phase:
        raise NotImplementedError

    def predict(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(image)
        return logits

    def retrain_phase(self, **settings: Any) -> Phase:
        """A phase whose updates use features from `begin` instead of their batches, which have one image each."""
        return self.phase(
            RETRAIN,
            logits=lambda image: {"classifier": self.predict(image)},
            features=lambda image: {"classifier": self.classifier.encoder(image)},
            batch_size=1,
            epochs=None,
            drop_last=False,
            learning_rate_factor=lambda step, steps_per_epoch: 1.0,
            positions=lambda: torch.zeros(1, dtype=torch.int64),
            **settings,
        )


@torch.no_grad()
def features_of(encoder: nn.Module, images: Iterable[Batch]) -> tuple[Tensor, list[Batch]]:
    """The features [N, F] of all `images`, and their batches with the images left out."""
    parts = [(encoder(batch.image), replace(batch, image=batch.image[:0])) for batch in images]
    return torch.cat([features for features, _ in parts]), [batch for _, batch in parts]


class DFR(LastLayer):
    @dataclass(frozen=True, kw_only=True)
    class Config(LastLayer.Config):
        fits: int = setting(20, "regressions whose mean is the last layer, each on a subset of its own", positive)
        penalties: tuple[float, ...] = setting(
            (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01),
            "inverse strengths of the L1 penalty to choose from, by the worst group of half of the validation images",
            all_positive,
        )

    SEARCH = {"learning_rate": LEARNING_RATE}
    RECIPES = merge(AS_ERM, name_recipes("kirichenko2023", KIRICHENKO))

    needs_valid_bias = True

    config: Config

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.mean, self.scale = torch.zeros(0), torch.ones(0)
        self.features, self.target, self.group = torch.zeros(0), torch.zeros(0), torch.zeros(0)

    def retraining(self) -> Phase:
        return self.retrain_phase(update=self.refit, training=[], optimizers={}, num_steps=1, begin=self.collect)

    def collect(self, training_images: Iterable[Batch], validation_images: Iterable[Batch] | None) -> None:
        """Compute the features of the validation images, standardised by those of the training images."""
        assert validation_images is not None
        training, _ = features_of(self.classifier.encoder, training_images)
        self.mean, self.scale = training.mean(dim=0), training.std(dim=0).clamp(min=1e-6)
        features, batches = features_of(self.classifier.encoder, validation_images)
        self.features = ((features - self.mean) / self.scale).cpu()
        self.target = torch.cat([batch.target for batch in batches]).cpu()
        sizes = self.target.bincount(minlength=self.num_classes)
        if sizes.min() < 2:
            raise UserError(
                f"method dfr needs two validation images of each class or more, and class {int(sizes.argmin())} has"
                f" {int(sizes.min())}; use method=afr, or give more"
            )
        bias = torch.cat([batch.bias for batch in batches if batch.bias is not None]).cpu()
        _, self.group = torch.unique(torch.stack([self.target, bias]), dim=1, return_inverse=True)

    @torch.no_grad()
    def refit(self, batch: Batch) -> dict[str, Tensor]:
        """Choose the penalty, fit all regressions, and replace the last layer by their mean."""
        everything = torch.arange(len(self.target))
        penalty = self.choose_penalty()
        fits = [self.fit(everything, penalty, f"fit {number}") for number in range(self.config.fits)]
        weight = torch.stack([weight for weight, _ in fits]).mean(dim=0)
        bias = torch.stack([bias for _, bias in fits]).mean(dim=0)
        loss = cross_entropy(self.features @ weight.T + bias, self.target)
        head = self.classifier.head
        head.weight.copy_(weight / self.scale.cpu())
        head.bias.copy_(bias - (weight / self.scale.cpu()) @ self.mean.cpu())
        return {"loss": loss, "penalty": torch.tensor(penalty)}

    def choose_penalty(self) -> float:
        """The penalty with the best worst group: fitted to one half of each group, measured on the other."""
        order = torch.randperm(len(self.target), generator=torch_generator(self.seed, RETRAIN, "halves"))
        by_group = order[self.group[order].argsort(stable=True)]
        fitted, measured = by_group[::2], by_group[1::2]
        worst = {}
        for penalty in self.config.penalties:
            weight, bias = self.fit(fitted, penalty, "tuning")
            right = (self.features[measured] @ weight.T + bias).argmax(dim=1) == self.target[measured]
            found = self.group[measured]
            worst[penalty] = min(float(right[found == group].float().mean()) for group in found.unique())  # type: ignore[no-untyped-call]
        return max(worst, key=lambda penalty: worst[penalty])

    def fit(self, images: Tensor, penalty: float, name: str) -> tuple[Tensor, Tensor]:
        """The weight [num_classes, F] and bias [num_classes] of a regression on a balanced subset of `images`."""
        from sklearn.exceptions import ConvergenceWarning  # imported here: it takes seconds
        from sklearn.linear_model import LogisticRegression

        _, group = self.group[images].unique(return_inverse=True)  # type: ignore[no-untyped-call]
        subset = images[balanced_subset(group, int(group.max()) + 1, self.seed, RETRAIN, name)]
        solver = "liblinear" if self.num_classes == 2 else "saga"
        regression = LogisticRegression(l1_ratio=1.0, C=penalty, solver=solver, random_state=self.seed, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(self.features[subset].double().numpy(), self.target[subset].numpy())
        weight, bias = torch.from_numpy(regression.coef_).float(), torch.from_numpy(regression.intercept_).float()
        if self.num_classes == 2:  # the logit of class 1
            return torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        return weight, bias


class AFR(LastLayer):
    @dataclass(frozen=True, kw_only=True)
    class Config(LastLayer.Config):
        held_out: float = setting(
            0.2,
            "share of the training images that the network is not trained on, for the last layer",
            must_be("above 0, below 1", lambda share: 0 < share < 1),
        )
        gamma: float = setting(10.0, "the weight of an image is exp(-gamma x its probability)", not_negative)
        penalty: float = setting(0.0, "weight of the squared distance from the last layer of ERM", not_negative)
        retrain_steps: int = setting(500, "steps of gradient descent on all held-out images", positive)
        retrain_learning_rate: float = setting(1e-2, "learning rate of these steps", positive)

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "gamma": SearchRange(text="log(1, 20)", source="ours; the paper's are 10 and 1.44"),
        "penalty": SearchRange(text="log(1e-4, 1)", source="ours; the paper's are 0 and 0.001"),
        "retrain_learning_rate": SearchRange(),
    }
    RECIPES = merge(AS_ERM, name_recipes("qiu2023", QIU))

    config: Config
    features: Tensor
    logits: Tensor
    target: Tensor
    weight: Tensor

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.correction = networks.head("correction", self.classifier.encoder.feature_dim)
        for parameter in self.correction.parameters():
            nn.init.zeros_(parameter)
        optimizer = torch.optim.SGD(self.correction.parameters(), lr=config.retrain_learning_rate)
        optimizer.param_groups[0]["initial_lr"] = config.retrain_learning_rate
        self.retrain_optimizer = optimizer
        size = len(task.train_target)
        order = torch.randperm(size, generator=torch_generator(task.seed, RETRAIN, "held out"))
        num_held = min(max(1, round(config.held_out * size)), size - 1)
        self.held, self.trained = order[:num_held].sort().values, order[num_held:].sort().values
        self.class_sizes = task.train_target[self.held].bincount(minlength=task.num_classes)
        for name in ("features", "logits", "target", "weight"):  # of the held-out images, from `collect`
            self.register_buffer(name, torch.zeros(0), persistent=False)

    def phases(self) -> Sequence[Phase]:
        *training, last = super().phases()
        return [*(replace(phase, positions=lambda: self.trained) for phase in training), last]

    def retraining(self) -> Phase:
        steps = self.config.retrain_steps
        return self.retrain_phase(
            update=self.correct,
            training=[self.correction],
            optimizers={"correction": self.retrain_optimizer},
            num_steps=steps,
            evaluation_steps=[*range(EVALUATE_STEPS, steps, EVALUATE_STEPS), steps],
            begin=self.collect,
        )

    def predict(self, image: Tensor) -> Tensor:
        features = self.classifier.encoder(image)
        logits: Tensor = self.classifier.head(features) + self.correction(features)
        return logits

    @torch.no_grad()
    def collect(self, training_images: Iterable[Batch], validation_images: Iterable[Batch] | None) -> None:
        """Compute features, logits of ERM and weights of the held-out images."""
        held = self.held.to(next(self.parameters()).device)
        features, batches = features_of(self.classifier.encoder, training_images)
        self.features = features[held]
        self.target = torch.cat([batch.target for batch in batches])[held]
        self.logits = self.classifier.head(self.features)
        probability = of_class(softmax(self.logits, dim=1), self.target)
        weight = torch.exp(-self.config.gamma * probability) / self.class_sizes.to(held.device)[self.target]
        self.weight = weight / weight.sum()

    def correct(self, batch: Batch) -> dict[str, Tensor]:
        """One step of gradient descent on the weighted cross-entropy of all held-out images."""
        losses = cross_entropy(self.logits + self.correction(self.features), self.target, reduction="none")
        weighted = (self.weight * losses).sum()
        distance = sum(parameter.square().sum() for parameter in self.correction.parameters())
        loss = weighted + self.config.penalty * distance
        self.retrain_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.correction.parameters(), 1.0)
        self.retrain_optimizer.step()
        return {"loss": loss.detach(), "cross_entropy": weighted.detach()}
