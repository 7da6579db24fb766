"""LfF: learning from failure (Nam et al., NeurIPS 2020, arXiv:2007.02561).

A biased network is trained with generalised cross-entropy, which emphasises easy samples and so amplifies the bias. A
debiased network is trained with cross-entropy, weighted towards the samples that only the biased network fails on.

Deviations from the authors' code:
- In a class whose running losses are all exactly 0 the weights are 0; their code divides 0 by 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.methods.base import Method, MethodConfig, SampleNotes, Task
from debiaslab.methods.declarations import drop_last_setting, gce_exponent, running_loss_decay
from debiaslab.methods.losses import bias_amplifying_loss
from debiaslab.methods.per_sample import RelativeDifficulty
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import ANY_OF_NAM, DIGITS, LEE, LEE_2021, LEE_2023, NAM, OWN_IMAGES
from debiaslab.methods.ranges import GCE_EXPONENT, LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import merge, name_recipes, stand_ins
from debiaslab.models import Networks


class LfF(Method):
    """With `kept`, bool [N], the biased network is trained on those samples only, with cross-entropy instead of
    generalised cross-entropy: the second part of BiasEnsemble (`bias_ensemble.py`), which fills in the values later."""

    @dataclass(frozen=True, kw_only=True)
    class Config(MethodConfig):
        q: float = gce_exponent()
        ema_decay: float = running_loss_decay()
        drop_last: bool = drop_last_setting(False)

    SEARCH = {
        "learning_rate": LEARNING_RATE,
        "q": GCE_EXPONENT,
        "ema_decay": SearchRange(text="uniform(0.5, 0.95)"),
    }

    RECIPES = merge(
        name_recipes("debiaslab", DIGITS | OWN_IMAGES),
        name_recipes("nam2020", NAM),
        name_recipes("lee2021", LEE | LEE_2021, drop_last=True),
        name_recipes("lee2023", LEE_2023, drop_last=True),
    )
    UNPUBLISHED = stand_ins(ANY_OF_NAM)

    SAMPLE_STATE = ("kept", "difficulty.")

    config: Config
    kept: Tensor | None

    def __init__(self, config: Config, networks: Networks, task: Task, kept: Tensor | None = None) -> None:
        super().__init__(config, networks, task)
        self.biased, self.debiased = networks.classifier("biased"), networks.classifier("debiased")
        epsilon = 0.0 if kept is None else 1e-8  # as in the code of BiasEnsemble
        self.difficulty = RelativeDifficulty(task.train_target, task.num_classes, config.ema_decay, epsilon)
        self.register_buffer("kept", kept)
        self.optimizers = {"biased": self.optimizer_of(self.biased), "debiased": self.optimizer_of(self.debiased)}

    def phases(self) -> Sequence[Phase]:
        return [
            self.phase(
                "train",
                losses=self.losses,
                logits=lambda image: {"debiased": self.debiased(image), "biased": self.biased(image)},
                features=lambda image: {"debiased": self.debiased.encoder(image), "biased": self.biased.encoder(image)},
                training=[self.biased, self.debiased],
                optimizers=self.optimizers,
            )
        ]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        biased_logits = self.biased(batch.image)
        biased_ce = cross_entropy(biased_logits, batch.target, reduction="none")
        debiased_ce = cross_entropy(self.debiased(batch.image), batch.target, reduction="none")
        weight = self.difficulty.weigh(batch.index, biased_ce.detach(), debiased_ce.detach())
        kept = None if self.kept is None else self.kept[batch.index]
        biased_loss = bias_amplifying_loss(biased_logits, batch.target, self.config.q, kept)
        debiased_loss = (weight * debiased_ce).mean()
        return {"loss": biased_loss + debiased_loss, "biased": biased_loss, "debiased": debiased_loss}

    def predict(self, image: Tensor) -> Tensor:
        logits: Tensor = self.debiased(image)
        return logits

    def sample_notes(self) -> SampleNotes:
        return self.difficulty.notes()
