"""ImageNet-W's watermark on test images."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch

from debiaslab.core.vision import torchvision
from debiaslab.datasets import watermark
from tests.conftest import Command
from tests.datasets.loading import loaded
from tests.datasets.own_images import bias, split, target

SIZE = 48


@pytest.fixture
def csv(write: Callable[..., Path]) -> Path:
    return write("path,target,bias,split", lambda n: f"{target(n)},{bias(n)},{split(n)}")


def test_the_test_images_with_a_watermark(csv: Path) -> None:
    torchvision("transforms.functional")  # which the package imports
    package = pytest.importorskip("imagenet_w")
    words = {"name": "custom", "csv": str(csv), "image_size": SIZE, "cache": str(csv.parent / "cache")}
    plain, data = loaded(words), loaded({**words, "watermark": True})
    assert list(data.extra) == ["watermark"]
    marked = data.extra["watermark"]
    assert torch.equal(marked.target, data.test.target)
    assert torch.equal(marked.bias, data.test.bias)
    for name, part in plain.splits().items():
        assert torch.equal(part.all_images(), data.splits()[name].all_images())
    image = plain.test.read(torch.tensor([5]))[0]
    expected = package.AddWatermark(SIZE)(image.float().div(255)).mul(255).round().byte()
    assert torch.equal(marked.read(torch.tensor([5]))[0], expected)
    assert not numpy.array_equal(image, expected)
    assert data.fingerprint == f"{plain.fingerprint}-watermark"


def test_without_the_package(csv: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagenet_w", None)
    watermark._watermark.cache_clear()
    outcome = command("inspect", "with", "custom", f"data.csv={csv}", f"data.image_size={SIZE}", "data.watermark=True")
    assert outcome.code == 2
    assert outcome.err == 'error: imagenet_w is not installed: pip install ".[watermark]"\n'
