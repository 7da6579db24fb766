"""The layout of the backgrounds challenge, with scikit-learn's digits as its images."""

import json
import shutil
from pathlib import Path

import pytest

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, imagenet9_bg
from debiaslab.datasets.augmentation import RandomResizedCropAndFlip
from debiaslab.datasets.imagenet9_bg import ImageNet9Backgrounds
from debiaslab.evaluation.history import Evaluation, empty_history
from debiaslab.evaluation.outcomes import is_lower_better
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded

CLASSES = [f"{number:02}_{name}" for number, name in enumerate(ImageNet9Backgrounds.CLASSES)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folders = [tmp_path / "bg_challenge" / name / "val" for name in ("original", "mixed_same", "mixed_rand", "only_fg")]
    folders += [tmp_path / "in9l" / "train"]
    write_images([folder / name / f"{number}.JPEG" for folder in folders for name in CLASSES for number in range(4)])
    return tmp_path


def load(root: Path, **settings: object) -> BiasedDataset:
    return loaded({"name": "imagenet9_bg", "root": str(root), "image_size": 28, **settings})


def test_variants_are_test_splits(root: Path) -> None:
    data = load(root)
    assert list(data.extra) == ["mixed_same", "mixed_rand", "only_fg"]
    assert data.test.target.tolist() == [label for label in range(9) for _ in range(4)]
    assert not any(split.has_bias for split in data.splits().values())
    assert data.valid is not None
    assert (len(data.train), len(data.valid)) == (27, 9)
    assert data.test.image_shape == data.valid.image_shape == (3, 28, 28)
    assert data.class_labels()[2] == "wheeled vehicle"
    assert isinstance(data.augment, RandomResizedCropAndFlip)
    assert load(root, protocol="published").valid is None
    held_out = load(root, protocol="iid").valid
    assert held_out is not None
    assert len(held_out) == 9


def test_the_gap_of_backgrounds(root: Path) -> None:
    history = empty_history(load(root, protocol="published"))
    right = {"test": 4, "mixed_same": 3, "mixed_rand": 1, "only_fg": 2}
    correct = {split: {"f": [[count]] * 9, "g": [[1]] * 9} for split, count in right.items()}
    values = history.metrics(Evaluation("train", 1, 1, 1, {}, correct))
    assert values["bg_gap"]["f"]["accuracy"] == pytest.approx(0.5)
    assert values["bg_gap"]["g"]["accuracy"] == 0
    assert is_lower_better("bg_gap/accuracy")
    assert not is_lower_better("test/bg_gap")  # of UrbanCars: the accuracy that is lost is below 0


def test_trained_on_imagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class map numbers all synsets of ImageNet in their order; most have no class."""
    monkeypatch.setattr(imagenet9_bg, "NUM_SYNSETS", 50)
    shutil.rmtree(root / "in9l")
    with pytest.raises(UserError, match=r"imagenet9_bg needs .*imagenet/train \(and 1 more\), which is missing"):
        load(root)
    synsets = [f"n{number:08}" for number in range(50)]
    for name in synsets:
        (root / "imagenet" / "train" / name).mkdir(parents=True)
    mapping = dict.fromkeys(range(50), -1) | {5 * label + 2: label for label in range(9)}
    write_images([root / "imagenet" / "train" / synsets[5 * label + 2] / "1.JPEG" for label in range(9)])
    (root / "in_to_in9.json").write_text(json.dumps(mapping))
    data = load(root, protocol="published")
    assert data.train.target.tolist() == list(range(9))
    (root / "in_to_in9.json").write_text(json.dumps(mapping | {2: 9}))
    with pytest.raises(UserError, match=r"in_to_in9\.json: a class is not 0 to 8; download it again"):
        load(root)
    (root / "imagenet" / "train" / synsets[0]).rmdir()
    with pytest.raises(UserError, match=r"imagenet/train: 49 synsets, must be 50, for in_to_in9\.json numbers all"):
        load(root)


def test_mistakes_are_one_line(root: Path) -> None:
    folder = root / "bg_challenge" / "mixed_rand" / "val"
    (folder / CLASSES[8]).rename(folder / "fish")
    with pytest.raises(UserError, match=r"mixed_rand/val/fish: must begin with the number of its class, 00_ to 08_"):
        load(root)
    shutil.rmtree(folder / "fish")
    with pytest.raises(UserError, match=r"mixed_rand/val: no image of target class 8 \(of 9\); complete the download"):
        load(root)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"imagenet9_bg needs .*mixed_rand/val, which is missing"):
        load(root)
