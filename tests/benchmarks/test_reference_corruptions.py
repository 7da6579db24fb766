"""What the corruptions are compared with does the same work: results alike, or, of random ones, changes as large."""

import numpy
import pytest
import scipy

from benchmarks.reference_corruptions import REFERENCE, one_by_one
from debiaslab.datasets.corruptions import CORRUPTIONS, corrupt
from debiaslab.datasets.corruptions.weather import textures_folder

SEVERITY = 5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_reference(name: str) -> None:
    if name == "frost" and not textures_folder().is_dir():
        pytest.skip("the pictures of frost are not installed")
    noise = numpy.random.default_rng(0).normal(size=(20, 3, 32, 32))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 0, 3, 3))
    images = (128 + 600 * smooth + 10 * noise).clip(0, 255).astype(numpy.uint8)
    ours = corrupt(images, name, SEVERITY, range(len(images))).astype(float)
    theirs = one_by_one(images, name, numpy.random.default_rng(1)).astype(float)
    change, other = (numpy.abs(result - images).mean() for result in (ours, theirs))
    assert set(REFERENCE) == set(CORRUPTIONS)
    assert theirs.mean() == pytest.approx(ours.mean(), rel=0.05)
    assert other == pytest.approx(change, rel=0.15)
