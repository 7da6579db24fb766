"""Corruption files with other images, sizes and selections than the shipped one, from plain code written for this."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.datasets.cifar10_files import pictures
from tests.golden.__main__ import main

Floats = NDArray[numpy.float64]


def contrast(x: Floats, generator: numpy.random.Generator) -> Floats:
    mean = x.mean(axis=(0, 1))
    darker: Floats = (x - mean) * 0.75 + mean
    return darker.clip(0, 1) * 255


def pixelate(x: Floats, generator: numpy.random.Generator) -> Floats:
    image = Image.fromarray(numpy.uint8(numpy.rint(x * 255)))
    return numpy.asarray(image.resize((28, 28), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX))


def gaussian_noise(x: Floats, generator: numpy.random.Generator) -> Floats:
    return numpy.clip(x + generator.normal(0, 0.04, x.shape), 0, 1) * 255


def speckle_noise(x: Floats, generator: numpy.random.Generator) -> Floats:
    return numpy.clip(x + x * generator.normal(0, 0.12, x.shape), 0, 1) * 255


SOURCES: dict[str, Callable[[Floats, numpy.random.Generator], Floats]] = {
    "Contrast/1": contrast,
    "Pixelate/2": pixelate,
    "Gaussian Noise/1": gaussian_noise,
    "Speckle Noise/3": speckle_noise,
}
NUM_IMAGES, NUM_EXACT = 14, 5


def content() -> dict[str, NDArray[Any]]:
    """The arrays of a file with the four corruptions of `SOURCES`."""
    images = pictures(100)[-NUM_IMAGES:].transpose(0, 2, 3, 1)
    generator = numpy.random.default_rng(3)
    arrays: dict[str, NDArray[Any]] = {"corruption/input": images}
    for name, function in SOURCES.items():
        repeated = [[numpy.uint8(function(x / 255, generator)) for x in images] for _ in range(6)]
        result = numpy.array(repeated, dtype=numpy.float64)
        change = result - images
        statistics = [change.mean(), abs(change).mean(), (change**2).mean() ** 0.5, result.std()]
        arrays[f"corruption_stats/{name}"] = numpy.array(statistics)
        if "Noise" not in name:
            arrays[f"corruption/{name}"] = numpy.array(repeated[0][:NUM_EXACT])
    return arrays


def replayed(path: Path, arrays: dict[str, NDArray[Any]]) -> int:
    numpy.savez(path, meta=numpy.array(json.dumps({"source": "a test"})), **arrays)  # type: ignore[arg-type]
    return main([str(path)])


def test_other_images_and_selections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(tmp_path / "file.npz", content()) == 0
    out = capsys.readouterr().out
    assert out.count("  ok ") == len(SOURCES) + 2


def test_what_is_wrong_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = content()
    contrast, noise = right["corruption/Contrast/1"], right["corruption_stats/Gaussian Noise/1"]
    wrong: list[dict[str, NDArray[Any]]] = [
        {"corruption/Contrast/2": contrast},  # of another severity
        {"corruption/Contrast/1": numpy.where(contrast > 200, contrast - 2, contrast)},
        {"corruption/Contrast/1": contrast[:, :, :16]},
        {"corruption_stats/Gaussian Noise/2": noise},
        {"corruption_stats/Shot Noise/1": noise},
        {"corruption_stats/Gaussian Noise/1": noise * [1, 1.06, 1, 1]},
        {"corruption_stats/Gaussian Noise/1": noise + numpy.array([0.06 * noise[1], 0, 0, 0])},
        {"corruption_stats/Gaussian Noise/1": noise[:3]},
    ]
    for change in wrong:
        assert replayed(tmp_path / "file.npz", right | change) == 1, change.keys()
        assert capsys.readouterr().out.count("FAILED") == 1


def test_what_cannot_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = content()
    assert replayed(tmp_path / "file.npz", right | {"corruption/Magic/1": right["corruption/Contrast/1"]}) == 2
    assert "unknown corruption 'magic'" in capsys.readouterr().err
    assert replayed(tmp_path / "file.npz", right | {"corruption/Contrast/6": right["corruption/Contrast/1"]}) == 2
    assert replayed(tmp_path / "file.npz", right | {"corruption/input": right["corruption/input"][..., 0]}) == 2
