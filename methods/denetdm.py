"""DeNetDM: debiasing by network depth modulation (Sreelatha et al., NeurIPS 2024, arXiv:2403.19863).

A shallow and a deep branch share a linear head on the sum of their features (a product of experts). When they are
trained together, the deep branch learns the bias and the shallow branch what is left: the core attribute. In a second
phase a deep target branch learns from both, by the same product of experts and by distillation from the shallow branch.

Deviations from the authors' code:
- The distillation phase runs (an option of their code that is on by default skips it), and the seed has an effect.
- The teacher has modules of its own; in their code it is a second copy of the model. The results are the same.
- On CelebA, where their code has no second phase and the shallow branch does not fit the linear layer after it, that
  layer is left out and the shallow branch predicts.
- By default the checkpoint that phase two starts from is selected on validation images, by the same metric as theirs
  (accuracy on bias-conflicting images); their selection on the test images is `hand_over=oracle_test_conflicting`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.core.settings import not_negative, positive, require, setting, setting_names
from debiaslab.methods.base import Method, MethodConfig, Task
from debiaslab.methods.frozen import FrozenOutputs
from debiaslab.methods.losses import distillation_loss
from debiaslab.methods.optimizers import OPTIMIZER, build_optimizer
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import ANY_OF_SREELATHA, OWN_BRANCHES, SREELATHA
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import Recipe, mark_unpublished, merge, name_recipes, stand_ins
from debiaslab.models import Networks


class DeNetDM(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(MethodConfig):
        weight_decay: float = setting(1e-3, "weight decay in the separation phase", not_negative)
        batch_size: int = 64
        hand_over: str | None = setting(
            "best_valid_conflicting",
            "selection rule for the checkpoint that distillation starts from; None: no distillation, the shallow"
            " branch predicts",
        )
        distill_optimizer: str | None = setting(
            None, "optimiser of the distillation phase; None: as in the separation phase", OPTIMIZER
        )
        distill_learning_rate: float = setting(1e-3, "initial learning rate in the distillation phase", positive)
        distill_weight_decay: float = setting(0.0, "weight decay in the distillation phase", not_negative)
        distill_epochs: int | None = setting(
            None,
            "length of the distillation phase; None, without distill_steps: that of the separation phase",
            positive,
            part="epochs",
        )
        distill_steps: int | None = setting(
            None, "length of the distillation phase in optimiser steps", positive, part="steps"
        )
        poe_weight: float = setting(
            1.0, "weight of the cross-entropy of the product of target and deep branch", not_negative
        )
        distill_weight: float = setting(1.0, "weight of the distillation loss", not_negative)
        temperature: float = setting(2.0, "softmax temperature in the distillation loss", positive)

        def __post_init__(self) -> None:
            super().__post_init__()
            epochs, steps = self.distill_epochs, self.distill_steps
            require(epochs is None or steps is None, "distill_epochs", epochs, "left out, or distill_steps")

        def rules(self) -> dict[str, str]:
            return {} if self.hand_over is None else {"hand_over": self.hand_over}

        def without_effect(self) -> dict[str, tuple[str, ...]]:
            of_distillation = tuple(name for name in setting_names(type(self)) if name.startswith("distill_"))
            own = {"hand_over=None": (*of_distillation, "poe_weight", "temperature")} if self.hand_over is None else {}
            return super().without_effect() | own

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "distill_learning_rate": LEARNING_RATE,
        "distill_weight": SearchRange(),
        "temperature": SearchRange(text="uniform(1, 4)"),
    }

    RECIPES = merge(
        {
            "digits": {
                "debiaslab": Recipe(
                    source="ours: the paper's networks; batch size and length chosen on validation images",
                    model="mlp_branches",
                    hparams={"batch_size": 16, "epochs": 40},
                )
            }
        },
        name_recipes("sreelatha2024", SREELATHA),
        name_recipes("debiaslab", mark_unpublished({"cmnist": SREELATHA["colored_mnist"]}, "as colored_mnist")),
        name_recipes(
            "debiaslab", mark_unpublished({"cifar10c": SREELATHA["corrupted_cifar10"]}, "as corrupted_cifar10")
        ),
        name_recipes("debiaslab", mark_unpublished({"dogs_and_cats": SREELATHA["bffhq"]}, "as bffhq")),
        name_recipes("debiaslab", OWN_BRANCHES),
    )
    UNPUBLISHED = stand_ins(ANY_OF_SREELATHA)  # none for clips, which have no such branches

    PUBLISHED = {"hand_over": "oracle_test_conflicting"}

    config: Config

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.shallow, self.deep = networks.encoder("shallow"), networks.encoder("deep")
        self.head = networks.head("head", self.deep.feature_dim)
        self.separation_optimizer = self.optimizer_of(self.shallow, self.deep, self.head)
        if config.hand_over is None:
            return
        self.target = networks.encoder("target")
        # copies of the deep branch and the head for phase two; the teacher uses the originals
        self.target_deep = networks.encoder("deep").requires_grad_(False)
        self.target_head = networks.head("head", self.deep.feature_dim)
        self.constants = FrozenOutputs(self.teach, [self.shallow, self.head, self.target_deep])
        self.distillation_optimizer = build_optimizer(
            config.distill_optimizer or config.optimizer,
            [self.target, self.target_head],
            config.distill_learning_rate,
            config.distill_weight_decay,
        )

    def phases(self) -> Sequence[Phase]:
        config = self.config
        separation = self.phase(
            "separate",
            losses=self.separation_losses,
            logits=self.separation_logits,
            features=lambda image: {"shallow": self.shallow(image), "deep": self.deep(image)},
            training=[self.shallow, self.deep, self.head],
            optimizers={"separation": self.separation_optimizer},
            drop_last=True,
        )
        if config.hand_over is None:
            return [separation]
        as_long = config.distill_epochs is None and config.distill_steps is None
        distillation = self.phase(
            "distill",
            losses=self.distillation_losses,
            logits=self.distillation_logits,
            features=lambda image: {"target": self.target(image), "deep": self.target_deep(image)},
            training=[self.target, self.target_deep, self.target_head],
            optimizers={"distillation": self.distillation_optimizer},
            epochs=config.epochs if as_long else config.distill_epochs,
            num_steps=config.num_steps if as_long else config.distill_steps,
            drop_last=True,
            prepare=self.constants.keep,
        )
        return [replace(separation, hand_over=config.hand_over, finish=self.start_distillation), distillation]

    def predict(self, image: Tensor) -> Tensor:
        logits: Tensor = (
            self.head(self.shallow(image)) if self.config.hand_over is None else self.target_head(self.target(image))
        )
        return logits

    def separation_losses(self, batch: Batch) -> dict[str, Tensor]:
        features = self.shallow(batch.image) + self.deep(batch.image)
        return {"loss": cross_entropy(self.head(features), batch.target)}

    def start_distillation(self, training_images: Iterable[Batch] = ()) -> None:
        """Initialise phase two from the deep branch and the head of the checkpoint that phase one hands over."""
        self.target_deep.load_state_dict(self.deep.state_dict())
        self.target_head.load_state_dict(self.head.state_dict())

    def distillation_losses(self, batch: Batch) -> dict[str, Tensor]:
        teacher_logits, deep = self.constants(batch)
        target = self.target(batch.image)
        poe_loss = cross_entropy(self.target_head(target + deep), batch.target)
        distillation = distillation_loss(self.target_head(target), teacher_logits, self.config.temperature)
        loss = self.config.poe_weight * poe_loss + self.config.distill_weight * distillation
        return {"loss": loss, "poe": poe_loss, "distillation": distillation}

    def teach(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs that are constant in phase two: the teacher's logits and the deep branch's features."""
        return self.head(self.shallow(image)), self.target_deep(image)

    def separation_logits(self, image: Tensor) -> dict[str, Tensor]:
        shallow, deep = self.shallow(image), self.deep(image)
        return {"shallow": self.head(shallow), "deep": self.head(deep), "product": self.head(shallow + deep)}

    def distillation_logits(self, image: Tensor) -> dict[str, Tensor]:
        target, deep = self.target(image), self.target_deep(image)
        head = self.target_head
        return {"target": head(target), "deep": head(deep), "product": head(target + deep)}
