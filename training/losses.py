"""Mean losses of a stretch of training, without waiting for the device at every step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from debiaslab.core.errors import TrainingDiverged


class LossSums:
    """What is known of a phase's scalars [], on the device: read by the host only when `means` is called.

    They are kept until then, as a sum in every step would cost as much as a small network's layer.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.recent: dict[str, list[Tensor]] = {}  # of the steps since the last call of `means`
        self.count = 0

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        for name, value in scalars.items():
            self.recent.setdefault(name, []).append(value)
        self.count += 1

    def means(self, phase: str, step: int) -> dict[str, float]:
        """Raises `TrainingDiverged` if one is not finite."""
        for name, values in self.recent.items():
            total = torch.stack(values).sum()
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        self.recent = {}
        names = list(self.sums)
        means = dict(zip(names, (torch.stack([self.sums[name] for name in names]) / self.count).tolist(), strict=True))
        for name, value in means.items():
            if not abs(value) < float("inf"):
                raise TrainingDiverged(
                    f"{name} is {value} in phase {phase} at or before step {step};"
                    " try a smaller method.hparams.learning_rate"
                )
        return means
