"""A trained classifier as a plain module, restored from the record of its run."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from debiaslab.analysis.records import Record
from debiaslab.analysis.restored_run import RestoredMethod, restore_method


class TrainedClassifier(nn.Module):
    """The classifier of a run: maps images float32 [B, 3, H, W] from `preprocess` to logits [B, num_classes].

    `preprocess` takes an image (PIL) or an image file and returns float32 [3, H, W]. `class_names` are the classes in
    the order of the logits. `facts` describe the weights: rule, phase, epoch and accuracies.
    """

    def __init__(self, restored: RestoredMethod) -> None:
        super().__init__()
        self.method = restored.method
        self.preprocess = restored.preprocessing
        self.class_names = restored.class_names
        self.facts: Mapping[str, Any] = restored.facts

    def forward(self, image: Tensor) -> Tensor:
        return self.method.predict(image)

    def branch_logits(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits [B, num_classes] of all branches of the method's last phase, the prediction first."""
        return self.method.phases()[-1].logits(image)

    @torch.no_grad()
    def branches(self) -> list[str]:
        """Return the names of the branches, the prediction first."""
        weights = next(self.method.parameters())
        return list(self.branch_logits(torch.zeros(1, *self.preprocess.prepare.image_shape, device=weights.device)))


def restore_classifier(record: Record, rule: str | None) -> TrainedClassifier:
    """Restore the classifier of a recorded run, on the CPU, in eval mode, with the weights selected by `rule`.

    Raises `UserError` as `restore_method` does.
    """
    return TrainedClassifier(restore_method(record, rule)).eval()
