"""Bias-balanced loss (Hong and Yang, NeurIPS 2021, "Unbiased classification through bias-contrastive and bias-balanced
learning").

With P(y | b) = n_{y,b} / n_b from the training images, the loss of an image with logits z is the cross-entropy of z +
log(P(y | b) + 1e-9), so that z need not explain what the bias says about the class. The prediction is the argmax of z.
It uses the bias labels of the training images.

Deviations from the authors' code: none known. A bias class without training images has the same prior for all classes.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from debiaslab.methods.base import Task
from debiaslab.methods.erm import ERM
from debiaslab.methods.phase import Batch
from debiaslab.methods.published import AS_ERM, AS_ERM_ELSEWHERE
from debiaslab.models import Networks

EPSILON = 1e-9  # added to P(y | b)


class BiasBalance(ERM):
    RECIPES = AS_ERM
    UNPUBLISHED = AS_ERM_ELSEWHERE

    needs_bias = True

    log_prior: Tensor

    def __init__(self, config: ERM.Config, networks: Networks, task: Task) -> None:
        super().__init__(config, networks, task)
        counts = task.group_counts().double()
        prior = counts / counts.sum(dim=0).clamp(min=1)
        self.register_buffer("log_prior", (prior + EPSILON).log().float(), persistent=False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.bias is not None
        log_prior = self.log_prior.index_select(1, batch.bias).t()  # [B, num_classes]
        return {"loss": cross_entropy(self.classifier(batch.image) + log_prior, batch.target)}
