"""EnD: entangling and disentangling deep representations (Tartaglione et al., CVPR 2021, arXiv:2103.02023).

A classifier on L2-normalised features, with two regularisers on the cosine similarities within a batch: features of the
same bias class are pushed apart (disentangling), features of the same target class and different bias classes are
pulled together (entangling). It uses the bias labels of the training images. With alpha = beta = 0 it is ERM on
normalised features.

Deviations from the authors' code:
- Vectorised, without a loop over classes; the results are the same. As in their code, only those pairs i > j of a batch
  with b_i < b_j are entangled: half of them on average.
- The authors found alpha and beta by a search (uniform in [0, 1] for rho 0.990, 0.995 and 0.997, in [0, 50] for 0.999;
  at least 20 runs, by validation accuracy): `main.py search`. Our default for both is 0.1, the value with which the
  authors check their code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from debiaslab.core.settings import not_negative, setting
from debiaslab.methods.base import Method, Task
from debiaslab.methods.phase import Batch, Phase
from debiaslab.methods.published import ANY_OF_NAM, OWN_IMAGES
from debiaslab.methods.ranges import LEARNING_RATE, SearchRange
from debiaslab.methods.recipes import Recipe, merge, name_recipes, stand_ins
from debiaslab.methods.schedules import ScheduledConfig
from debiaslab.models import Networks

# the paper's ranges of alpha and beta, by the strength of the bias
WEAK = SearchRange(text="uniform(0, 1)", source="EnD paper, Biased MNIST with rho below 0.999")
STRONG = SearchRange(text="uniform(0, 50)", source="EnD paper, Biased MNIST with rho 0.999")


class EnD(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(ScheduledConfig):
        alpha: float = setting(0.1, "weight of the disentangling loss", not_negative)
        beta: float = setting(0.1, "weight of the entangling loss", not_negative)

    SEARCH = {"alpha": WEAK, "beta": WEAK, "learning_rate": LEARNING_RATE}

    RECIPES = merge(
        {
            "digits": {
                "debiaslab": Recipe(
                    source="chosen on validation images to show the effect in seconds",
                    model="mlp",
                    hparams={"alpha": 1.0, "beta": 1.0, "batch_size": 64, "epochs": 100},
                )
            },
            "biased_mnist": {
                "tartaglione2021": Recipe(
                    source="EnD paper and code; alpha and beta: the authors' check value",
                    model="simple_conv",
                    model_hparams={"last_activation": "tanh"},
                    hparams={"weight_decay": 1e-4, "epochs": 80, "lr_schedule": "step", "lr_decay_epochs": 20},
                )
            },
            "celeba": {
                "debiaslab": Recipe(
                    source="none in the code of EnD: the rates of LfF's recipe, with all layers trained",
                    model="resnet18",
                    hparams={"learning_rate": 1e-4, "weight_decay": 1e-4, "epochs": 50},
                    pretrained="imagenet",
                )
            },
        },
        name_recipes("debiaslab", OWN_IMAGES),
    )
    UNPUBLISHED = stand_ins({**ANY_OF_NAM, "digits": RECIPES["biased_mnist"]["tartaglione2021"]})

    needs_bias = True
    needs_whole_batch = True

    config: Config

    @classmethod
    def search_space(cls, data: Mapping[str, Any]) -> Mapping[str, SearchRange]:
        """On Biased MNIST that of the paper: alpha and beta alone, and more of them for the strongest bias."""
        rho = data.get("rho")
        if not isinstance(rho, (int, float)):
            return cls.SEARCH
        return dict.fromkeys(("alpha", "beta"), STRONG if rho >= 0.999 else WEAK)

    def __init__(self, config: Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        self.encoder = networks.encoder("classifier")
        self.head = networks.head("classifier head", self.encoder.feature_dim)
        self.optimizer = self.optimizer_of(self.encoder, self.head)

    def phases(self) -> Sequence[Phase]:
        return [
            self.phase(
                "train",
                losses=self.losses,
                logits=lambda image: {"classifier": self.head(self.features(image))},
                features=lambda image: {"classifier": self.features(image)},
                training=[self.encoder, self.head],
                optimizers={"classifier": self.optimizer},
            )
        ]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.bias is not None
        features = self.features(batch.image)
        cosine = cosines(features)
        classification = cross_entropy(self.head(features), batch.target)
        disentangle = disentangling_loss(cosine, batch.bias)
        entangle = entangling_loss(cosine, batch.target, batch.bias)
        loss = classification + self.config.alpha * disentangle + self.config.beta * entangle
        return {"loss": loss, "cross_entropy": classification, "disentangle": disentangle, "entangle": entangle}

    def features(self, image: Tensor) -> Tensor:
        """The features [B, F], each of length 1."""
        return normalize(self.encoder(image), dim=1)


def cosines(features: Tensor) -> Tensor:
    """The cosines [B, B] between features [B, F] of length 1."""
    return (features @ features.T).clamp(-1, 1)


def disentangling_loss(cosine: Tensor, bias: Tensor) -> Tensor:
    """Sum over bias classes of |sum of the cosines of the class's pairs|, divided by the number of all these pairs.

    cosine [B, B], bias int64 [B]; returns a scalar, 0 if no two samples share a bias class.
    """
    same_bias = bias[:, None] == bias
    pairs = same_bias.tril(-1)
    # sums per class without the number of classes: each sample gets the sum of its class, divided by the class's size
    class_sum = same_bias.to(cosine.dtype) @ (cosine * pairs).sum(dim=1)
    return (class_sum.abs() / same_bias.sum(dim=1)).sum() / pairs.sum().clamp(min=1)


def entangling_loss(cosine: Tensor, target: Tensor, bias: Tensor) -> Tensor:
    """1 - mean of (1 + cosine) / 2 over the pairs i > j of the same target class with bias classes b_i < b_j.

    cosine [B, B], target and bias int64 [B]; returns a scalar, 0 if there is no such pair.
    """
    pairs = ((target[:, None] == target) & (bias[:, None] < bias)).tril(-1)
    num_pairs = pairs.sum()
    similarity = (0.5 * (1 + cosine) * pairs).sum() / num_pairs.clamp(min=1)
    return torch.where(num_pairs > 0, 1 - similarity, 0.0)
