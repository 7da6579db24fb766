"""The MLPs of the files that the reference scripts write, and their steps."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import torch

from debiaslab.methods import Batch, Phase
from debiaslab.methods.optimizers import scale_learning_rates
from debiaslab.models import Networks
from debiaslab.models.mlp import MLP
from tests.golden.format import GoldenFile, Unreadable


def networks_of(file: GoldenFile, network: str) -> Networks:
    """Builds MLPs of the sizes of `network`."""
    widths = [shape[0] for name, shape, _ in _params(file, network) if name.startswith("feature.") and len(shape) == 2]
    return Networks(MLP(widths=tuple(widths)), file.image_shape(), num_classes_of(file, network), seed=0)


def num_classes_of(file: GoldenFile, network: str) -> int:
    sizes = [shape[0] for name, shape, _ in _params(file, network) if name == "classifier.weight"]
    if not sizes:
        raise Unreadable(f"{file.path}: no classification layer in {network}")
    return int(sizes[0])


def all_images(file: GoldenFile) -> Batch:
    """All images as one batch, in order."""
    index = torch.arange(len(file["images"]))
    target = torch.from_numpy(file["attrs"][:, 0])
    return Batch(image=file.images(), target=target, index=index, step=0)


def train(phase: Phase, batches: Iterable[Batch]) -> dict[str, list[float]]:
    """The scalars of each update of `phase` on the `batches`."""
    series: dict[str, list[float]] = defaultdict(list)
    for step, batch in enumerate(batches):
        scale_learning_rates(phase.optimizers.values(), phase.learning_rate_factor(step, 1))
        for name, value in phase.update(replace(batch, step=step)).items():
            series[name].append(value.item())
    return series


def _params(file: GoldenFile, network: str) -> list[tuple[str, list[int], str]]:
    file.initial_names(network)
    params: list[tuple[str, list[int], str]] = file.meta["init"][network]["params"]
    return params
