"""Empirical risk minimisation: plain cross-entropy, the baseline ("vanilla") of every paper.

Recipes: those of the LfF code (Nam et al., NeurIPS 2020), the DisEnt code (Lee et al., NeurIPS 2021) and the ReBias
code (Bahng et al., ICML 2020).
Deviations from the authors' code: none known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.methods.base import Method, Task
from debiaslab.methods.declarations import drop_last_setting
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import ANY_OF_NAM, BAHNG, LEE, LEE_2021_BASELINE, LEE_2023, LI, NAM, OWN_IMAGES, SAGAWA
from debiaslab.methods.ranges import LEARNING_RATE, WEIGHT_DECAY
from debiaslab.methods.recipes import Recipe, Recipes, merge, name_recipes, stand_ins
from debiaslab.methods.schedules import ScheduledConfig
from debiaslab.models import Networks


class ERM(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(ScheduledConfig):
        drop_last: bool = drop_last_setting(False)

    SEARCH = {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}

    RECIPES: ClassVar[Recipes] = merge(
        {
            "digits": {
                "debiaslab": Recipe(
                    source="ours: DeNetDM's budget on these digits",
                    model="mlp",
                    hparams={"batch_size": 16, "epochs": 40},
                )
            }
        },
        name_recipes("nam2020", NAM),
        name_recipes("lee2021", LEE | LEE_2021_BASELINE, drop_last=True),
        name_recipes("lee2023", LEE_2023, drop_last=True),
        name_recipes("sagawa2020", SAGAWA),
        name_recipes("li2023", LI),
        name_recipes("bahng2020", BAHNG | {"imagenet9": replace(BAHNG["imagenet9"], model="resnet18")}),  # f alone
        name_recipes("debiaslab", OWN_IMAGES),
    )
    UNPUBLISHED: ClassVar[Mapping[str, Recipe]] = stand_ins(ANY_OF_NAM)

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.classifier = networks.classifier("classifier")
        self.optimizer = self.optimizer_of(self.classifier)

    def phases(self) -> Sequence[Phase]:
        return [
            self.phase(
                "train",
                losses=self.losses,
                logits=lambda image: {"classifier": self.classifier(image)},
                features=lambda image: {"classifier": self.classifier.encoder(image)},
                training=[self.classifier],
                optimizers={"classifier": self.optimizer},
            )
        ]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": cross_entropy(self.classifier(batch.image), batch.target)}
