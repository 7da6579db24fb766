"""The bias-conflicting test images with the highest loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from debiaslab.analysis.plots.figure import WIDTHS, new_figure, print_style, set_title
from debiaslab.analysis.restored_run import RestoredRun
from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.splits import middle_frames
from debiaslab.evaluation.outputs import outputs_at

SHOWN_PER_ROW = {1: 4, 2: 8}
NUM_ROWS = {1: 6, 2: 4}
LINE_HEIGHT = 0.09  # inches, of the lines below an image
CHARACTERS = 23  # of a line below an image


@dataclass(frozen=True)
class Hardest:
    """Images uint8 [K, H, W, C], hardest first, with predictions and labels, K each.

    `confidence` is the probability in [0, 1] of the class that is `predicted`, `loss` the cross-entropy in nats.
    `wrong` of the `total` images that were compared are predicted wrongly.
    """

    images: NDArray[numpy.uint8]
    index: NDArray[numpy.int64]
    target: list[str]
    bias: list[str] | None
    predicted: list[str]
    confidence: NDArray[numpy.float64]
    loss: NDArray[numpy.float64]
    wrong: int
    total: int
    kind: str  # "bias-conflicting test images", or "test images" where that is not known


def hardest_images(run: RestoredRun, count: int) -> Hardest:
    """The `count` images with the highest loss among the conflicting test images; among all if no pair is bias-aligned.

    Raises `UserError` if there is no such image, and for features.
    """
    split, data = run.data.test, run.data
    if data.has_features:
        raise UserError("its data are features, which cannot be shown")
    logits = run.method.phases()[-1].logits

    def prediction(image: Tensor) -> dict[str, Tensor]:
        """In float64, so that probabilities do not underflow to 0, which would make losses equal."""
        return {"": next(iter(logits(image).values())).cpu().double().softmax(dim=1)}

    chosen, kind = conflicting(split, data)
    if len(chosen) == 0:
        raise UserError(f"there are no {kind}")
    placed = chosen.to(split.target.device)
    probability = outputs_at(placed, prediction, split, data, run.setup.run.workers)[""]
    target = split.target.cpu()[chosen]
    loss = -probability.gather(1, target[:, None])[:, 0].clamp(min=torch.finfo(torch.float64).tiny).log()
    top = loss.argsort(descending=True, stable=True)[:count]
    predicted, index = probability.argmax(dim=1), chosen[top]
    classes, biases = data.class_labels(), data.bias_labels()
    return Hardest(
        images=pictures(split, index),
        index=index.numpy(),
        target=[classes[label] for label in target[top].tolist()],
        bias=[biases[label] for label in split.bias.cpu()[index].tolist()] if split.has_bias else None,
        predicted=[classes[label] for label in predicted[top].tolist()],
        confidence=probability.max(dim=1).values[top].numpy(),
        loss=loss[top].numpy(),
        wrong=int((predicted != target).sum()),
        total=len(chosen),
        kind=kind,
    )


def conflicting(split: Split, data: BiasedDataset) -> tuple[Tensor, str]:
    """(positions int64 [M] on the CPU, what they are): the bias-conflicting images, if it is known which these are."""
    if not data.tells_conflicting(split):
        return torch.arange(len(split)), "test images"
    aligned = data.aligned_samples(split).cpu()
    return (~aligned).nonzero()[:, 0], "bias-conflicting test images"


def pictures(split: Split, index: Tensor) -> NDArray[numpy.uint8]:
    """uint8 [K, H, W, C] of the images at `index`; the middle frame of a clip."""
    images = middle_frames(split.read(index.to(split.images.device)).cpu())
    found: NDArray[numpy.uint8] = images.permute(0, 2, 3, 1).numpy()
    return found


@print_style()
def hardest_figure(hardest: Hardest, title: Sequence[str], columns: int) -> Any:
    """A grid of the images in order of their loss, with target, bias, prediction and confidence below each."""
    wide = min(SHOWN_PER_ROW[columns], max(4, len(hardest.images)))
    rows = -(-len(hardest.images) // wide)
    width = WIDTHS[columns] * wide / SHOWN_PER_ROW[columns]
    _, height, breadth, channels = hardest.images.shape
    side = width / wide
    cell = 0.92 * side * height / breadth + LINE_HEIGHT * (2 if hardest.bias is None else 3) + 0.12
    figure, axes = new_figure(rows, wide, width, rows * cell + 0.6)
    for axis in axes.flat:
        axis.set_axis_off()
    for position, axis in enumerate(axes.flat[: len(hardest.images)]):
        image = hardest.images[position]
        axis.imshow(image[:, :, 0] if channels == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        lines = [_fit_name("target", hardest.target[position])]
        lines += [] if hardest.bias is None else [_fit_name("bias", hardest.bias[position])]
        lines.append(
            _fit_name("predicted", hardest.predicted[position], f" ({100 * hardest.confidence[position]:.0f} %)")
        )
        axis.text(0.5, -0.04, "\n".join(lines), transform=axis.transAxes, ha="center", va="top", fontsize=5.5)
    shown, total = len(hardest.images), hardest.total
    found = f"{shown} of {total:,} {hardest.kind} with the highest loss ({hardest.wrong:,} are predicted wrongly)"
    set_title(figure, [*title, found], width)
    return figure


def _fit_name(what: str, name: str, after: str = "") -> str:
    """A line below an image, with as much of the name as there is room for."""
    room = CHARACTERS - len(what) - len(after)
    return f"{what} {name if len(name) <= room else name[: room - 1] + '…'}{after}"
