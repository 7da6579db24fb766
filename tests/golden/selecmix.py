"""Replay of V+SelecMix, with the recorded shares and parts of batches."""

from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from debiaslab.methods import Batch
from debiaslab.methods.selecmix import SelecMix
from tests.golden.format import TOLERANCE, Comparison, GoldenFile, compare, compare_parameters
from tests.golden.protocol import exact
from tests.golden.small_mlp import networks_of, num_classes_of, train


class RecordedSelecMix(SelecMix):
    """SelecMix with recorded random numbers; it keeps the targets of the mixtures."""

    recorded: GoldenFile
    targets: list[Any]

    def mix(self, batch: Batch) -> Batch:
        share = torch.from_numpy(self.recorded["share"][batch.step]).float()
        with torch.no_grad():
            mixed = self.mix_with(batch, bool(self.recorded["same_class"][batch.step]), share)
        self.targets.append(mixed.target.numpy())
        return mixed

    def cut(self, batch: Batch) -> Sequence[Tensor]:
        return list(torch.from_numpy(self.recorded["parts"][batch.step]))


def replay(file: GoldenFile) -> list[Comparison]:
    hparams = {("learning_rate" if name == "lr" else name): value for name, value in file.meta["hparams"].items()}
    task = file.task(num_classes_of(file, "classifier"))
    method = RecordedSelecMix(RecordedSelecMix.Config(**hparams), networks_of(file, "classifier"), task)
    method.recorded, method.targets = file, []
    networks: dict[str, list[nn.Module]] = {
        "classifier": [method.classifier],
        "contrastive": [method.encoder, method.projection],
    }
    for name, modules in networks.items():
        file.initialise(name, modules)
    losses = train(method.phases()[0], file.batches())
    comparisons = [compare(name, losses[name], file[name], TOLERANCE) for name in ("mixed", "plain", "contrastive")]
    comparisons.append(exact("target", numpy.stack(method.targets), file["target"]))
    for name, modules in networks.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names(name), modules)
    return comparisons
