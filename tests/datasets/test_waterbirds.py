"""Waterbirds' layout, with scikit-learn's digits as birds; and what its class shares with other photographs."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.augmentation import CropAndFlip, RandomResizedCropAndFlip
from debiaslab.datasets.preprocessing import Preprocessing, Stretched, StretchedCenterCrop
from debiaslab.evaluation.history import Evaluation, empty_history
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded

HEADER = "img_id,img_filename,y,split,place,place_filename"
# (y, place) -> images of train, valid, test
COUNTS = {(0, 0): (30, 2, 4), (0, 1): (4, 2, 4), (1, 0): (2, 2, 4), (1, 1): (12, 2, 4)}
NAMES = [
    (f"{y:03}.Bird/{y}_{place}_{split}_{number}.jpg", y, split, place)
    for (y, place), counts in COUNTS.items()
    for split, count in enumerate(counts)
    for number in range(count)
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "waterbird_complete95_forest2water2"
    write_images([folder / name for name, *_ in NAMES])
    rows = [f"{number},{name},{y},{split},{place},/p/x.jpg" for number, (name, y, split, place) in enumerate(NAMES)]
    (folder / "metadata.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path


def load(root: Path, **settings: Any) -> BiasedDataset:
    return loaded({"name": "waterbirds", "root": str(root), "image_size": 14, **settings})


def groups(data: BiasedDataset, name: str) -> list[int]:
    split = data.splits()[name]
    return torch.bincount(data.groups(split), minlength=4).tolist()


def test_the_splits_and_groups_of_the_metadata(root: Path) -> None:
    data = load(root)
    assert [groups(data, name) for name in ("train", "valid", "test")] == [[30, 4, 2, 12], [2] * 4, [4] * 4]
    assert (data.class_names, data.bias_names) == (("landbird", "waterbird"), ("land", "water"))
    assert data.aligned_groups().tolist() == [[True, False], [False, True]]
    assert data.notes[0] == "train: 48 images, of 4,795 published; is the download complete?"
    assert load(root, protocol="published").fingerprint == data.fingerprint
    (root / "waterbird_complete95_forest2water2").rename(root / "waterbirds_v1.0")
    assert load(root).fingerprint == data.fingerprint


def test_images_are_stretched_and_cropped(root: Path) -> None:
    data = load(root)
    name = next(name for name, _, split, _ in NAMES if split == 2)
    with Image.open(root / "waterbird_complete95_forest2water2" / name) as image:
        resized = image.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR).crop((1, 1, 15, 15))
    assert numpy.array_equal(data.test.read(torch.tensor([0]))[0].permute(1, 2, 0), numpy.asarray(resized))
    assert data.preprocessing() == Preprocessing(StretchedCenterCrop(16, 14), data.normalize)
    assert data.train.image_shape == (3, 14, 14)
    assert data.augment is None
    assert load(root, augment="flip").augment == CropAndFlip(0)


def test_random_crops_are_of_the_whole_images(root: Path) -> None:
    """The view without draws is the one that evaluation has, but for rounding."""
    data, plain = load(root, augment="resized_crop"), load(root)
    assert data.train.image_shape == (3, 16, 16)
    assert isinstance(data.augment, RandomResizedCropAndFlip)
    assert (data.augment.scale, data.augment.sizes.tolist()) == ((0.7, 1.0), [[28, 28]] * 48)
    index = torch.arange(48)
    views = data.augment(data.train.read(index), index, None)
    assert torch.equal(views.round().byte(), plain.train.read(index))
    assert torch.equal(data.test.all_images(), plain.test.all_images())


def test_validation_images_of_the_training_distribution(root: Path) -> None:
    data, authors = load(root, protocol="iid", augment="resized_crop"), load(root)
    assert data.valid is not None
    assert torch.bincount(data.valid.target).tolist() == [3, 1]
    assert len(data.train) == 44
    assert isinstance(data.augment, RandomResizedCropAndFlip)
    assert len(data.augment.sizes) == 44
    assert torch.equal(data.test.all_images(), authors.test.all_images())


def test_the_average_of_papers_weights_groups_as_in_training(root: Path) -> None:
    history = empty_history(load(root))
    correct = {"test": {"": [[4, 1], [2, 3]]}, "valid": {"": [[2, 2], [2, 2]]}}
    metrics = history.counts(Evaluation("", 0, 0, 0, {}, correct), "test").metrics()
    assert metrics["train_weighted"] == pytest.approx((30 * 1 + 4 * 0.25 + 2 * 0.5 + 12 * 0.75) / 48)
    assert metrics["worst_group"] == 0.25


def test_mistakes_are_one_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"waterbirds needs .*metadata\.csv, which is missing; for details: .* inspect"):
        load(tmp_path / "elsewhere")
    file = root / "waterbird_complete95_forest2water2" / "metadata.csv"
    text = file.read_text()
    for old, new, message in (
        (",place,", ",background,", r"metadata\.csv, line 1: no column 'place'; columns: img_id, .*, background"),
        ("000.Bird/0_0_0_0.jpg,0", "000.Bird/0_0_0_0.jpg,2", r"line 2: y '2', must be 0 or 1; restore the original"),
        ("0_0_0_0.jpg,0,0", "0_0_0_0.jpg,0,3", r"line 2: split '3', must be 0 or 1 or 2; restore the original file"),
        ("0_0_0_0", "gone", r"line 2: there is no image file .*gone\.jpg"),
    ):
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(UserError, match=message) as error:
            load(root)
        assert "\n" not in str(error.value)


def test_a_stretched_center_crop_is_described_for_other_programs() -> None:
    prepare = StretchedCenterCrop(256, 224)
    facts = Preprocessing(prepare, None).facts()
    assert Preprocessing.from_facts(facts) == Preprocessing(prepare, None)
    assert prepare.describe() == f"{Stretched(256).describe()}, the middle 224 x 224 of it"
