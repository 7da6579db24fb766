"""The sample grid: which images are in it, whatever the data set."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from debiaslab.analysis import samples
from debiaslab.analysis.samples import add_sample_grid, save_sample_grid
from debiaslab.datasets import BiasedDataset, Split
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.datasets.splits import ImagesOnFile

WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Colored:
    """A reader of images of one colour: row r is grey, of value r + 10; frame t of a clip of value r + 10 * t."""

    image_shape: tuple[int, ...]
    num_draws: int = 0
    dtype: torch.dtype = torch.uint8

    def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        value = rows.view(-1, *[1] * len(self.image_shape))
        if len(self.image_shape) == 4:
            offset = 10 * torch.arange(self.image_shape[1]).view(1, 1, -1, 1, 1)
        else:
            offset = torch.tensor(10)
        return (value + offset).to(torch.uint8).expand(len(rows), *self.image_shape)


def dataset(target: list[int], bias: list[int], shape: tuple[int, ...] = (3, 8, 8), **changes: Any) -> BiasedDataset:
    split = Split(ImagesOnFile(Colored(shape), torch.arange(len(target))), torch.tensor(target), torch.tensor(bias))
    return BiasedDataset("grey", split, None, split, max(target) + 1, max(1, max(bias) + 1), "key", **changes)


def greys(tmp_path: Path, data: BiasedDataset, least: int = 300) -> set[int]:
    """The grey values that fill at least so many pixels of the grid: of the images, not of their labels."""
    save_sample_grid(tmp_path / "grid.png", data)
    found = {color for color, count in colors(tmp_path / "grid.png").items() if count >= least}
    return {color[0] for color in found - {WHITE} if len(set(color)) == 1 and color[0] > 0}


def colors(path: Path) -> dict[tuple[int, ...], int]:
    """How many pixels of a picture have each colour."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        counted: Any = picture.convert("RGB").getcolors(picture.width * picture.height)
    return {color: count for count, color in counted}


def test_digits(tmp_path: Path, digits: BiasedDataset) -> None:
    save_sample_grid(tmp_path / "samples.png", digits)
    assert len(colors(tmp_path / "samples.png")) > 100


def refuse_links(*_: Path) -> None:
    raise PermissionError


@pytest.mark.parametrize("links", [True, False])
def test_runs_on_the_same_data_share_one_grid(
    tmp_path: Path, digits: BiasedDataset, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    drawn = tmp_path / "drawn" / "grid.png"
    add_sample_grid(tmp_path / "first.png", digits, drawn)
    monkeypatch.delattr(samples, "save_sample_grid")  # the second run draws nothing
    add_sample_grid(tmp_path / "second.png", digits, drawn)
    assert len(colors(tmp_path / "second.png")) > 100
    for name in ("first.png", "second.png"):
        assert (tmp_path / name).read_bytes() == drawn.read_bytes()
        assert (tmp_path / name).samefile(drawn) == links


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 224, 224), (3, 40, 20)])
def test_aligned_and_conflicting_images_of_every_class(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = dataset([0, 1, 0, 1], [0, 1, 1, 0], shape, class_names=("cat\n", "dog"), bias_names=("in", "out" * 30))
    assert greys(tmp_path, data) == {10, 11, 12, 13}
    assert greys(tmp_path, replace(data, num_biases=3, bias_names=None)) == {10, 11, 12, 13}


def test_a_class_without_conflicting_images(tmp_path: Path) -> None:
    assert greys(tmp_path, dataset([0, 1, 0], [0, 1, 1])) == {10, 11, 12}
    assert greys(tmp_path, dataset([0, 1, 2], [0, 1, 2])) == {10, 11, 12}


def test_the_middle_frame_of_a_clip(tmp_path: Path) -> None:
    assert greys(tmp_path, dataset([0, 1], [0, 1], (3, 5, 8, 8))) == {20, 21}


@pytest.mark.parametrize("bias", [[-1, -1, -1], [0, 1, 0]])
def test_unknown_bias_or_unknown_pairs(tmp_path: Path, bias: list[int]) -> None:
    data = dataset([0, 1, 1], bias)
    nothing = torch.zeros(2, data.num_biases, dtype=torch.bool)
    assert greys(tmp_path, replace(data, aligned=nothing)) == {10, 11, 12}


def test_of_many_classes_some(tmp_path: Path) -> None:
    data = dataset(list(range(50)), list(range(50)))
    assert greys(tmp_path, data) == {10 + round(number * 49 / 9) for number in range(10)}


def test_images_look_as_in_an_evaluation(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Brighter(CropAndFlip):
        padding: int = 0

        def __call__(self, images: Tensor, index: Tensor, draws: Tensor | None) -> Tensor:
            assert draws is None
            return images.float() + 90.4 + index.view(-1, 1, 1, 1)

    assert greys(tmp_path, dataset([0, 1], [0, 1], augment=Brighter())) == {100, 102}


def test_only_what_is_shown_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    plain = Colored.__call__

    def watched(self: Colored, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        read.extend(rows.tolist())
        return plain(self, rows, draws)

    monkeypatch.setattr(Colored, "__call__", watched)
    save_sample_grid(tmp_path / "grid.png", dataset([0, 1] * 500, [0, 1] * 500))
    assert len(read) <= 1 + 2 * samples.ROWS * samples.COLUMNS
