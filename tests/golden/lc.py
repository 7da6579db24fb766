"""Replay of LC, with the recorded mixtures."""

from typing import Any

import numpy
import torch
from torch import Tensor

from debiaslab.methods import Batch
from debiaslab.methods.lc import LC
from tests.golden.format import TOLERANCE, Comparison, GoldenFile, compare, compare_parameters
from tests.golden.protocol import exact
from tests.golden.small_mlp import networks_of, num_classes_of


class RecordedLC(LC):
    """LC with the recorded partner of each image, int64 [steps, B]; it keeps the pseudo-bias and the table."""

    recorded: Any

    def share(self, step: int) -> float:
        return float(self.recorded["share"][step])

    def partners(self, batch: Batch, bias: Tensor) -> Tensor:
        return torch.from_numpy(self.recorded["partner"][batch.step])


def replay(file: GoldenFile) -> list[Comparison]:
    hparams = {("learning_rate" if name == "lr" else name): value for name, value in file.meta["hparams"].items()}
    config = LC.Config(normalize=False, **hparams)
    method = RecordedLC(config, networks_of(file, "biased"), file.task(num_classes_of(file, "biased")))
    method.recorded = file
    networks = {"biased": method.biased, "debiased": method.debiased}
    for name, network in networks.items():
        file.initialise(name, [network])
    (phase,) = method.phases()
    series: dict[str, list[Any]] = {"terms/debiased": [], "terms/biased": [], "table": []}
    pseudo_bias = []
    for batch in file.batches():
        scalars = phase.update(batch)
        series["terms/debiased"].append(scalars["debiased"].item())
        series["terms/biased"].append(scalars["biased"].item())
        series["table"].append(method.table.numpy().copy())
        pseudo_bias.append(method.pseudo_bias[batch.index].numpy())
    comparisons = [compare(name, ours, file[name], TOLERANCE) for name, ours in series.items()]
    comparisons.append(exact("pseudo_bias", numpy.stack(pseudo_bias), file["pseudo_bias"]))
    for name, network in networks.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names(name), [network])
    return comparisons
