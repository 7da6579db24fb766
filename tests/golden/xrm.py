"""Replay of XRM's first training, with the recorded halves and draws. The second is Group DRO (`group_methods.py`)."""

import numpy
import torch
from torch import Tensor

from debiaslab.methods import Batch
from debiaslab.methods.xrm import XRM
from tests.golden.format import TOLERANCE, Comparison, GoldenFile, compare, compare_parameters
from tests.golden.protocol import exact
from tests.golden.small_mlp import all_images, networks_of, num_classes_of


class RecordedXRM(XRM):
    """XRM with the recorded draws, float32 [steps, B]."""

    recorded: Tensor

    def draws(self, batch: Batch) -> Tensor:
        return self.recorded[batch.step]


def replay(file: GoldenFile) -> list[Comparison]:
    hparams = file.meta["hparams"]
    config = XRM.Config(
        learning_rate=hparams["lr"], weight_decay=hparams["weight_decay"], optimizer=hparams["optimizer"].lower()
    )
    method = RecordedXRM(config, networks_of(file, "first"), file.task(num_classes_of(file, "first")))
    method.recorded = torch.from_numpy(file["draws"])
    method.of_second.copy_(torch.from_numpy(file["of_second"]))
    networks = {"first": method.first, "second": method.second}
    for name, network in networks.items():
        file.initialise(name, [network])
    phase = method.phases()[0]
    losses, labels = [], []
    for batch in file.batches():
        losses.append(phase.update(batch)["loss"].item())
        labels.append(method.label.numpy().copy())
    phase.finish([all_images(file)])
    comparisons = [
        compare("loss", losses, file["loss"], TOLERANCE),
        exact("labels", numpy.stack(labels), file["labels"]),
        exact("mistaken", method.mistaken.numpy(), file["mistaken"]),
    ]
    for name, network in networks.items():
        comparisons += compare_parameters(file, f"final/{name}", file.initial_names(name), [network])
    return comparisons
