"""DisEnt: debiasing by disentangled feature augmentation (Lee et al., NeurIPS 2021, arXiv:2107.01372); also LDD, DFA.

Two encoders, one for intrinsic and one for bias attributes; on the features of both, a linear head for each. The heads
are trained like the networks of LfF, and each backpropagates into its own encoder only. After `curr_step` steps the
bias features are also swapped between the images of a batch, which turns bias-aligned samples into bias-conflicting
ones.

Deviations from the authors' code:
- In a class whose running losses are all exactly 0 the weights are 0; their code divides 0 by 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.core.memory import copy_to
from debiaslab.core.randomness import torch_generator
from debiaslab.core.settings import must_be, not_negative, positive, setting
from debiaslab.methods.base import Method, MethodConfig, SampleNotes, Task
from debiaslab.methods.declarations import drop_last_setting, gce_exponent, running_loss_decay
from debiaslab.methods.losses import bias_amplifying_loss
from debiaslab.methods.per_sample import RelativeDifficulty
from debiaslab.methods.phase import Batch, Phase, descend
from debiaslab.methods.published import ANY_OF_LEE, DIGITS, LEE, LEE_2021, LEE_2023, OWN_IMAGES, for_disent
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge, name_recipes, stand_ins
from debiaslab.models import Networks

OF_ALL_DATA = "the span of the authors' settings over their data sets"


class DisEnt(Method):
    """With `kept`, bool [N], the bias branch is trained on those samples only, with cross-entropy instead of
    generalised cross-entropy: the second part of BiasEnsemble (`bias_ensemble.py`), which fills in the values later."""

    @dataclass(frozen=True, kw_only=True)
    class Config(MethodConfig):
        q: float = gce_exponent()
        ema_decay: float = running_loss_decay()
        lambda_dis_align: float = setting(10.0, "weight of the bias branch's loss", not_negative)
        lambda_swap_align: float = setting(10.0, "weight of the bias branch's loss on swapped features", not_negative)
        lambda_swap: float = setting(1.0, "weight of both losses on swapped features", not_negative)
        curr_step: int = setting(10_000, "last step without swapping", not_negative, part="steps")
        lr_decay_step: int | None = setting(
            10_000,
            "steps between decays of the learning rate by lr_gamma, counted from curr_step; None: no decay",
            must_be("positive, or None", lambda steps: steps > 0),
            part="steps",
        )
        lr_gamma: float = setting(0.5, "decay factor of the learning rate, every lr_decay_step steps", positive)
        drop_last: bool = drop_last_setting(True)

        def without_effect(self) -> dict[str, tuple[str, ...]]:
            own = {"lr_decay_step=None": ("lr_gamma",)} if self.lr_decay_step is None else {}
            return super().without_effect() | own

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "lambda_dis_align": SearchRange(text="log(1, 10)", source=OF_ALL_DATA),
        "lambda_swap_align": SearchRange(text="log(1, 10)", source=OF_ALL_DATA),
        "lambda_swap": SearchRange(text="log(0.1, 1)", source=OF_ALL_DATA),
    }

    RECIPES = merge(
        name_recipes("debiaslab", for_disent(DIGITS | OWN_IMAGES)),
        name_recipes("lee2021", for_disent(LEE | LEE_2021)),
        name_recipes("lee2023", for_disent(LEE_2023)),
    )
    UNPUBLISHED = for_disent(stand_ins(ANY_OF_LEE))

    SAMPLE_STATE = ("kept", "difficulty.")
    needs_whole_batch = True
    can_be_stacked = can_be_captured = False  # each step draws a new permutation

    config: Config
    kept: Tensor | None

    def __init__(self, config: Config, networks: Networks, task: Task, kept: Tensor | None = None) -> None:
        super().__init__(config, networks, task)
        self.seed = task.seed
        self.intrinsic_encoder, self.bias_encoder = networks.encoder("intrinsic"), networks.encoder("bias")
        width = self.intrinsic_encoder.feature_dim + self.bias_encoder.feature_dim
        self.intrinsic_head, self.bias_head = networks.head("intrinsic head", width), networks.head("bias head", width)
        self.difficulty = RelativeDifficulty(task.train_target, task.num_classes, config.ema_decay)
        self.register_buffer("kept", kept)
        self.optimizers = {
            "intrinsic": self.optimizer_of(self.intrinsic_encoder, self.intrinsic_head),
            "bias": self.optimizer_of(self.bias_encoder, self.bias_head),
        }

    def phases(self) -> Sequence[Phase]:
        return [
            self.phase(
                "train",
                update=self.update,
                logits=self.logits,
                features=lambda image: {"debiased": self.intrinsic_encoder(image), "biased": self.bias_encoder(image)},
                training=[self.intrinsic_encoder, self.intrinsic_head, self.bias_encoder, self.bias_head],
                optimizers=self.optimizers,
                learning_rate_factor=self.learning_rate_factor,
            )
        ]

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the loss and its four terms; those of the bias branch are multiplied by their lambda."""
        target, config = batch.target, self.config
        intrinsic, bias = self.intrinsic_encoder(batch.image), self.bias_encoder(batch.image)
        kept = None if self.kept is None else self.kept[batch.index]

        intrinsic_logits, bias_logits = self.heads(intrinsic, bias)
        intrinsic_ce = cross_entropy(intrinsic_logits, target, reduction="none")
        bias_ce = cross_entropy(bias_logits.detach(), target, reduction="none")
        weight = self.difficulty.weigh(batch.index, bias_ce, intrinsic_ce.detach())
        terms = {
            "dis_conflict": (weight * intrinsic_ce).mean(),
            "dis_align": config.lambda_dis_align * bias_amplifying_loss(bias_logits, target, config.q, kept),
        }
        loss = terms["dis_conflict"] + terms["dis_align"]

        terms |= dict.fromkeys(("swap_conflict", "swap_align"), loss.new_zeros(()))
        if batch.step > config.curr_step:
            order = self.permutation(batch)
            intrinsic_logits, bias_logits = self.heads(intrinsic, bias[order])
            swapped_kept = None if kept is None else kept[order]
            align = bias_amplifying_loss(bias_logits, target[order], config.q, swapped_kept)
            terms["swap_conflict"] = (weight * cross_entropy(intrinsic_logits, target, reduction="none")).mean()
            terms["swap_align"] = config.lambda_swap_align * align
            loss = loss + config.lambda_swap * (terms["swap_conflict"] + terms["swap_align"])
        descend(loss, *self.optimizers.values())
        return {"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()}

    def heads(self, intrinsic: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both heads for features [B, F] each; each head backpropagates into its own features only."""
        intrinsic_logits = self.intrinsic_head(torch.cat([intrinsic, bias.detach()], dim=1))
        bias_logits = self.bias_head(torch.cat([intrinsic.detach(), bias], dim=1))
        return intrinsic_logits, bias_logits

    def permutation(self, batch: Batch) -> Tensor:
        """The permutation int64 [B] of the bias features, a function of seed and step."""
        order = torch.randperm(len(batch.index), generator=torch_generator(self.seed, "swap", batch.step))
        return copy_to(order, batch.index.device)

    def learning_rate_factor(self, step: int, steps_per_epoch: int) -> float:
        """Equivalent to a StepLR scheduler that is stepped after every update from `curr_step` on."""
        config = self.config
        if config.lr_decay_step is None:
            return 1.0
        return config.lr_gamma ** (max(0, step - config.curr_step) // config.lr_decay_step)

    def logits(self, image: Tensor) -> dict[str, Tensor]:
        intrinsic_logits, bias_logits = self.heads(self.intrinsic_encoder(image), self.bias_encoder(image))
        return {"debiased": intrinsic_logits, "biased": bias_logits}

    def sample_notes(self) -> SampleNotes:
        return self.difficulty.notes()
