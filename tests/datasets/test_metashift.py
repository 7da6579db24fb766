"""MetaShift's layout, with scikit-learn's digits as cats and dogs."""

from pathlib import Path

import numpy
import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.preprocessing import ResizedCenterCrop
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded, rows_of

# folder -> (number of images, (cat, indoor))
GROUPS = {
    "train/cat/cat(indoor)": (16, (1, 1)),
    "train/dog/dog(outdoor)": (12, (0, 0)),
    "test/cat/cat(outdoor)": (8, (1, 0)),
    "test/dog/dog(indoor)": (6, (0, 1)),
}
FOLDER = "MetaShift-Cat-Dog-indoor-outdoor"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, (count, _) in GROUPS.items():
        write_images([tmp_path / FOLDER / name / f"{number:03}.jpg" for number in range(count)])
    return tmp_path


def load(root: Path, **settings: object) -> BiasedDataset:
    return loaded({"name": "metashift", "root": str(root), "image_size": 14, **settings})


def test_all_groups_are_pooled_and_split_at_random(root: Path) -> None:
    data = load(root)
    assert data.valid is not None
    assert (len(data.train), len(data.valid), len(data.test)) == (28, 4, 10)
    pairs = [pair for count, pair in GROUPS.values() for _ in range(count)]
    expected = numpy.sort(numpy.random.RandomState(42).choice(numpy.arange(42), 10, replace=False))
    test = data.test
    assert list(zip(test.target.tolist(), test.bias.tolist(), strict=True)) == [pairs[row] for row in expected]
    everything = torch.cat([data.groups(split) for split in data.splits().values()])
    assert torch.bincount(everything).tolist() == [12, 6, 8, 16]
    assert rows_of(data.test) == list(range(10))
    assert (data.class_labels(), data.bias_labels()) == (["dog", "cat"], ["outdoor", "indoor"])
    assert data.prepare == ResizedCenterCrop(16, 14)
    assert {load(root, protocol=protocol).fingerprint for protocol in ("iid", "published")} == {data.fingerprint}
    assert load(root, seed=1).fingerprint != data.fingerprint


def test_the_folder_of_subpopbench(root: Path) -> None:
    data = load(root)
    (root / "metashift").mkdir()
    (root / FOLDER).rename(root / "metashift" / FOLDER)
    assert load(root).fingerprint == data.fingerprint


def test_a_folder_is_missing(root: Path) -> None:
    (root / FOLDER / "test" / "dog").rename(root / FOLDER / "test" / "wolf")
    with pytest.raises(UserError, match=r"^metashift needs .*test/dog/dog\(indoor\), which is missing; for details: "):
        load(root)
