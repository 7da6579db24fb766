"""NICO++'s layout, with scikit-learn's digits as its classes."""

import json
from pathlib import Path

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, nicopp
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded

CONTEXTS = ("autumn", "dim", "grass", "outdoor", "rock", "water")
CLASSES = {"truck": 1, "bear": 0, "lily": 2}
COUNTS = {0: 9, 1: 7, 2: 4}  # images of a class in each context, and four more in rocks


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(nicopp, "EVALUATED", 6)
    folder = tmp_path / "public_dg_0416" / "train"
    for context in CONTEXTS:
        for name, label in CLASSES.items():
            count = COUNTS[label] + 4 * (context == "rock")
            write_images([folder / context / name / f"{number}.jpg" for number in range(count)])
    (tmp_path / "dg_label_id_mapping.json").write_text(json.dumps(CLASSES))
    return tmp_path


def load(root: Path, **settings: object) -> BiasedDataset:
    return loaded({"name": "nicopp", "root": str(root), "image_size": 14, **settings})


def test_of_each_group_a_part_is_for_evaluation(root: Path) -> None:
    data = load(root)
    tables = {
        name: torch.bincount(data.groups(split), minlength=18).view(3, 6) for name, split in data.splits().items()
    }
    assert tables["valid"].tolist() == [[2] * 6, [2] * 6, [1, 1, 1, 1, 2, 1]]
    assert tables["test"].tolist() == [[4] * 6, [4] * 6, [3, 3, 3, 3, 4, 3]]
    assert tables["train"].tolist() == [[3, 3, 3, 3, 7, 3], [1, 1, 1, 1, 5, 1], [0, 0, 0, 0, 2, 0]]
    assert data.class_labels() == ["bear", "truck", "lily"]
    assert data.bias_labels() == list(CONTEXTS)
    assert not bool(data.aligned_groups().any())
    assert load(root, protocol="published").fingerprint == data.fingerprint
    assert load(root, seed=1).fingerprint != data.fingerprint
    for inner in ("public_dg_0416", "dg_label_id_mapping.json"):
        (root / "nicopp").mkdir(exist_ok=True)
        (root / inner).rename(root / "nicopp" / inner)
    assert load(root).fingerprint == data.fingerprint


def test_mistakes_are_one_line(root: Path) -> None:
    mapping, rock = root / "dg_label_id_mapping.json", root / "public_dg_0416" / "train" / "rock"
    (rock / "bear").rename(rock / "bare")
    with pytest.raises(UserError, match=r"unknown class of NICO\+\+ '.*/rock/bare'; did you mean"):
        load(root)
    (rock / "bare").rename(rock / "bear")
    for text, message in (
        ("{", r"cannot read class numbers \(.*\); download it again"),
        ("[]", r"cannot read class numbers \(.*\); download it again"),
        ('{"truck": 1, "bear": 0, "lily": 3}', r"the numbers of the classes are not 0, 1, 2, \.\.\.; download it"),
    ):
        mapping.write_text(text)
        with pytest.raises(UserError, match=message) as error:
            load(root)
        assert "\n" not in str(error.value)
    mapping.unlink()
    with pytest.raises(UserError, match=r"nicopp needs .*dg_label_id_mapping\.json, which is missing"):
        load(root)
