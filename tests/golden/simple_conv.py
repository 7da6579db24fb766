"""What the files of the networks of ReBias and EnD share: their sizes, their inputs, their predictions."""

from collections.abc import Callable

import torch
from torch import Tensor

from debiaslab.models.convolutional import SimpleConv
from tests.golden.format import Comparison, GoldenFile, compare

NORMALIZE = ((0.5,) * 3, (0.5,) * 3)  # of the inputs, says every file's notes


def shapes(file: GoldenFile, network: str) -> dict[str, list[int]]:
    """The shapes of the parameters of `network`, by the authors' name."""
    file.initial_names(network)
    return {name: shape for name, shape, _ in file.meta["init"][network]["params"]}


def num_classes(file: GoldenFile, network: str) -> int:
    return list(shapes(file, network).values())[-1][0]


def architecture(file: GoldenFile, f: str, g: str, last_activation: str) -> SimpleConv:
    """Ours with the layers of the networks `f` and `g` of the file."""
    kernels = {network: convolutions(file, network)[0][2] for network in (f, g)}
    widths = tuple(shape[0] for shape in convolutions(file, f))
    return SimpleConv(widths=widths, f_kernel=kernels[f], g_kernel=kernels[g], last_activation=last_activation)


def convolutions(file: GoldenFile, network: str) -> list[list[int]]:
    return [shape for shape in shapes(file, network).values() if len(shape) == 4]


@torch.no_grad()
def compare_logits_eval(file: GoldenFile, predict: Callable[[Tensor], Tensor], tolerance: float) -> list[Comparison]:
    """The prediction in evaluation mode for the first images of the file, as many as are recorded."""
    if "logits_eval" not in file:
        return []
    theirs = file["logits_eval"]
    logits = predict(file.images(NORMALIZE)[: len(theirs)])
    return [compare("logits_eval", logits.numpy(), theirs, tolerance)]
