"""Mean losses between evaluations, without synchronising with the device at every step."""

from collections.abc import Mapping

import torch
from torch import Tensor

from debiaslab.core.errors import TrainingDiverged


class LossSums:
    """Accumulates a phase's scalars [] on the device; the host reads them only when `means` is called.

    They are collected until then, as adding them up in every step would cost as much as a layer of a small network.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.recent: dict[str, list[Tensor]] = {}  # since the last call of `means`
        self.count = 0

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        for name, value in scalars.items():
            self.recent.setdefault(name, []).append(value)
        self.count += 1

    def means(self, phase: str, step: int) -> dict[str, float]:
        """The mean of each scalar. Raises `TrainingDiverged` if one is not finite."""
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
