"""Draw a labelled grid of sample images, as a PNG file."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from debiaslab.analysis.drawing import font, save_png
from debiaslab.core.console import one_line
from debiaslab.core.sharing import make_shared_folder
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.splits import middle_frames

COLUMNS = 10  # maximum number of images
ROWS = 3  # each for bias-aligned and bias-conflicting images
UNIT = 165  # pixels: width of an image with the gap beside it
GAP, CLASS_GAP, HEADER_HEIGHT, LABEL_HEIGHT = 0.04, 0.2, 0.24, 0.15  # relative to the width of an image
LINE = 0.24  # height of a title, relative to the width of an image
CHARACTERS = 17  # per image width


def add_sample_grid(path: Path, data: BiasedDataset, drawn: Path) -> None:
    """Give a run the sample grid of its data: the file `drawn`, which is drawn if it is not there yet.

    Runs on the same data share one file, by hard links, where the file system has them.
    """
    if not drawn.exists():
        make_shared_folder(drawn.parent)
        save_sample_grid(drawn, data)
    try:
        os.link(drawn, path)
    except OSError:
        shutil.copyfile(drawn, path)


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
    heights = [LINE + HEADER_HEIGHT + count * row_height for count in rows]
    picture = Image.new("RGB", (round(width * UNIT), round((LINE + sum(heights)) * UNIT)), "white")
    _text(picture, width / 2, LINE / 2, _title(data, len(shown)), "mm", 9)
    top = LINE
    for (title, classes), height in zip(blocks.items(), heights, strict=True):
        _text(picture, GAP / 2, top + LINE, title, "ls", 8, bold=True)
        first = top + LINE + HEADER_HEIGHT
        for position, (label, chosen) in enumerate(zip(shown, classes, strict=True)):
            _text(picture, position * step + wide / 2, first - 0.05, _cut(data.class_labels()[label], wide), "ms", 7.5)
            _draw_images(picture, position * step, first, chosen, data, wide, row_height)
        top += height
    save_png(picture, path)


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


def _draw_images(
    picture: Any, left: float, top: float, index: Tensor, data: BiasedDataset, wide: int, row_height: float
) -> None:
    """Draw the training images `index`, `wide` in a row, from this position on."""
    if len(index) == 0:
        _text(picture, left + wide / 2, top + row_height / 2, "none", "mm", 7)
        return
    labels = data.bias_labels()
    for place, (image, bias) in enumerate(zip(_images(data, index), data.train.bias[index].tolist(), strict=True)):
        x, y = left + place % wide, top + place // wide * row_height
        height = image.shape[1] / image.shape[2] * (1 - GAP)
        size = round((1 - GAP) * UNIT), max(1, round(height * UNIT))
        how = Image.Resampling.NEAREST if size[0] > image.shape[2] else Image.Resampling.BOX
        pixels = image.permute(1, 2, 0).expand(-1, -1, 3).numpy()
        picture.paste(Image.fromarray(pixels).resize(size, how), (round((x + GAP / 2) * UNIT), round(y * UNIT)))
        if data.train.has_bias:
            _text(picture, x + 0.5, y + height + 0.02, _cut(labels[bias], 1), "ma", 6)


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


def _cut(text: str, wide: int) -> str:
    """`text`, truncated to the width of `wide` images."""
    room = CHARACTERS * wide
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _text(picture: Any, x: float, y: float, text: str, anchor: str, points: float, bold: bool = False) -> None:
    """Write `text` at a position in widths of an image; `anchor` is as in Pillow."""
    place = x * UNIT, y * UNIT
    ImageDraw.Draw(picture).text(place, one_line(text), "black", font(points, bold), anchor)
