"""Draw a labelled grid of sample images, as a PNG file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from debiaslab.analysis.plots import new_figure, save_figure
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.splits import middle_frames

COLUMNS = 10  # maximum number of images
ROWS = 3  # each for bias-aligned and bias-conflicting images
INCHES = 1.1  # width of an image
GAP, CLASS_GAP, HEADER_HEIGHT, LABEL_HEIGHT = 0.04, 0.2, 0.24, 0.15  # relative to the width of an image
CHARACTERS = 17  # per image width


def save_sample_grid(path: Path, data: BiasedDataset) -> None:
    """Draw training images without augmentation, grouped by class, with the bias below each image.

    Bias-aligned images are above, bias-conflicting ones below, if that is known. Many classes are subsampled evenly;
    clips show their middle frame.
    """
    shown = _spread(data.num_classes, COLUMNS)
    wide = COLUMNS // len(shown)  # images of a class in a row
    step = wide + (CLASS_GAP if wide > 1 else 0)
    width = len(shown) * step - (step - wide)
    blocks = {
        title: [_some_of(data, label, chosen, ROWS * wide) for label in shown]
        for title, chosen in _blocks(data).items()
    }
    _, *shape = _images(data, torch.zeros(1, dtype=torch.int64))[0].shape
    row_height = shape[0] / shape[1] + GAP + (LABEL_HEIGHT if data.train.has_bias else 0)
    rows = [max(1, *(-(-len(chosen) // wide) for chosen in classes)) for classes in blocks.values()]
    inches = [INCHES * (count * row_height + HEADER_HEIGHT) + 0.25 for count in rows]
    figure, axes = new_figure(len(blocks), 1, INCHES * width, sum(inches) + 0.25, ratios=inches)
    for axis, (title, classes), count in zip(axes[:, 0], blocks.items(), rows, strict=True):
        axis.set(xlim=(0, width), ylim=(count * row_height, -HEADER_HEIGHT), aspect="equal", xticks=[], yticks=[])
        axis.set_axis_off()
        axis.set_title(title, fontsize=8, loc="left", fontweight="bold")
        for position, (label, chosen) in enumerate(zip(shown, classes, strict=True)):
            _text(axis, position * step + wide / 2, -0.05, data.class_labels()[label], "bottom", 7.5, wide)
            _draw_images(axis, position * step, chosen, data, wide, row_height)
    figure.suptitle(_title(data, len(shown)), fontsize=9)
    save_figure(figure, path)


def _blocks(data: BiasedDataset) -> dict[str, Tensor]:
    """Title -> mask of training images, bool [N]."""
    size = len(data.train)
    if not data.tells_conflicting():
        return {f"{size:,} training images": torch.ones(size, dtype=torch.bool)}
    aligned = data.aligned_samples(data.train).cpu()
    named = {"bias-aligned": aligned, "bias-conflicting": ~aligned}
    return {f"{name} training images ({int(which.sum()):,} of {size:,})": which for name, which in named.items()}


def _title(data: BiasedDataset, num_shown: int) -> str:
    some = f", {num_shown} of {data.num_classes} classes" if num_shown < data.num_classes else ""
    above = "class above" + (", bias below each image" if data.train.has_bias else "")
    return f"{data.name}{some} ({above})"


def _some_of(data: BiasedDataset, label: int, chosen: Tensor, count: int) -> Tensor:
    """Indices of up to `count` of the `chosen` training images of a class, evenly spaced."""
    index = (chosen & (data.train.target.cpu() == label)).nonzero()[:, 0]
    return index[_spread(len(index), count)]


def _draw_images(axis: Any, left: float, index: Tensor, data: BiasedDataset, wide: int, row_height: float) -> None:
    """Draw the training images `index`, `wide` in a row, starting at the position `left`."""
    if len(index) == 0:
        _text(axis, left + wide / 2, row_height / 2, "none", "center", 7, wide)
        return
    labels = data.bias_labels()
    for place, (image, bias) in enumerate(zip(_images(data, index), data.train.bias[index].tolist(), strict=True)):
        x, y = left + place % wide, place // wide * row_height
        bottom = y + image.shape[1] / image.shape[2] * (1 - GAP)
        axis.imshow(image.permute(1, 2, 0).numpy(), extent=(x + GAP / 2, x + 1 - GAP / 2, bottom, y))
        if data.train.has_bias:
            _text(axis, x + 0.5, bottom + 0.02, labels[bias], "top", 6, 1)


def _images(data: BiasedDataset, index: Tensor) -> Tensor:
    """uint8 [B, C, H, W] on the CPU."""
    images = data.train.read(index)
    if data.augment is not None:
        images = data.augment(images, index.to(images.device), None)
    images = middle_frames(images)
    return images.round().to("cpu", torch.uint8) if images.is_floating_point() else images.cpu()


def _spread(size: int, count: int) -> Sequence[int]:
    """Up to `count` evenly spaced integers below `size`."""
    return numpy.linspace(0, size - 1, min(count, size)).round().astype(int).tolist()  # type: ignore[no-any-return]


def _text(axis: Any, x: float, y: float, text: str, vertical: str, size: float, wide: int) -> None:
    """Draw `text`, truncated to the width of `wide` images."""
    room = CHARACTERS * wide
    shown = text if len(text) <= room else f"{text[: room - 1]}…"
    axis.text(x, y, shown, fontsize=size, ha="center", va=vertical, parse_math=False, in_layout=False)
