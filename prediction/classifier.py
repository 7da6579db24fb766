"""A trained classifier as a plain module, restored from the record of its run."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from debiaslab.analysis.records import Record
from debiaslab.analysis.restored_run import RestoredMethod, restore_method, restore_networks
from debiaslab.core.errors import UserError
from debiaslab.methods import Method


class Classifier(nn.Module):
    """The classifier of a run: maps inputs float32 [B, *input_shape] to logits [B, num_classes].

    `class_names` are the classes in the order of the logits. `facts` describe the weights: rule, phase, epoch and
    accuracies.
    """

    def __init__(
        self, method: Method, facts: Mapping[str, Any], class_names: tuple[str, ...], input_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.method, self.facts, self.class_names, self.input_shape = method, facts, class_names, input_shape

    def forward(self, image: Tensor) -> Tensor:
        return self.method.predict(image)

    def branch_logits(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits [B, num_classes] of all branches of the method's last phase, the prediction first."""
        return self.method.phases()[-1].logits(image)

    @torch.no_grad()
    def branches(self) -> list[str]:
        """Return the names of the branches, the prediction first."""
        weights = next(self.method.parameters())
        return list(self.branch_logits(torch.zeros(1, *self.input_shape, device=weights.device)))


class TrainedClassifier(Classifier):
    """A `Classifier` of images float32 [B, 3, H, W] from `preprocess`.

    `preprocess` takes an image (PIL) or an image file and returns float32 [3, H, W].
    """

    def __init__(self, restored: RestoredMethod) -> None:
        image_shape = restored.preprocessing.prepare.image_shape
        super().__init__(restored.method, restored.facts, restored.class_names, image_shape)
        self.preprocess = restored.preprocessing


def restore_classifier(record: Record, rule: str | None) -> TrainedClassifier:
    """Restore the classifier of a recorded run, on the CPU, in eval mode, with the weights selected by `rule`.

    Raises `UserError` as `restore_method` does.
    """
    return TrainedClassifier(restore_method(record, rule)).eval()


def restore_feature_classifier(record: Record, rule: str | None) -> Classifier:
    """The same of a run whose data are features: its classifier maps them, float32 [B, F].

    Raises `UserError` as `restore_networks` does, and for a run whose data are not features.
    """
    if record.config["data"].get("features") is None:
        raise UserError(f"the run {record.id} is not of features; give images=FOLDER_OR_CSV")
    method, facts, given = restore_networks(record, rule)
    return Classifier(method, facts, tuple(map(str, given["classes"])), tuple(given["shape"])).eval()
