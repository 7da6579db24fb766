"""CelebA's layout, with scikit-learn's digits as faces."""

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, celeba
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.datasets.celeba import ATTRIBUTES
from tests.conftest import Command
from tests.datasets.loading import loaded

NUM_IMAGES = 60
NAMES = [f"{number:06}.jpg" for number in range(1, NUM_IMAGES + 1)]
SPLIT = [0] * 36 + [1] * 12 + [2] * 12


@pytest.fixture
def labels() -> list[dict[str, int]]:
    """1 or -1 for each attribute of each image: most blond ones are not male."""
    generator = random.Random(0)
    labels = [{name: generator.choice((-1, 1)) for name in ATTRIBUTES} for _ in NAMES]
    for number, attributes in enumerate(labels):
        attributes["Blond_Hair"] = 1 if number % 4 == 0 else -1
        attributes["Male"] = (-1 if number % 12 else 1) if number % 4 == 0 else (1 if number % 2 else -1)
    return labels


@pytest.fixture
def root(tmp_path: Path, labels: list[dict[str, int]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as torchvision lays it out."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for name, image in zip(NAMES, load_digits().images, strict=False):
        Image.fromarray((image * 15).astype(numpy.uint8)).resize((9, 11)).save(folder / "img_align_celeba" / name)
    rows = [
        " ".join([name, *(f"{label:2d}" for label in row.values())]) for name, row in zip(NAMES, labels, strict=True)
    ]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(NUM_IMAGES), " ".join(ATTRIBUTES), *rows]) + "\n")
    splits = [f"{name} {split}\n" for name, split in zip(NAMES, SPLIT, strict=True)]
    (folder / "list_eval_partition.txt").write_text("".join(splits))
    for name in celeba.CHECKSUMS:
        monkeypatch.setitem(celeba.CHECKSUMS, name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    return tmp_path


def load(root: Path, **settings: Any) -> BiasedDataset:
    return loaded({"name": "celeba", "root": str(root), "image_size": 14, **settings})


def test_the_attributes_are_those_of_the_papers() -> None:
    assert len(ATTRIBUTES) == 40
    assert (ATTRIBUTES[9], ATTRIBUTES[20]) == ("Blond_Hair", "Male")


def test_official_splits_and_labels(root: Path, labels: list[dict[str, int]]) -> None:
    data = load(root)
    assert data.valid is not None
    for number, split in enumerate((data.train, data.valid, data.test)):
        members = [index for index, part in enumerate(SPLIT) if part == number]
        assert split.target.tolist() == [int(labels[index]["Blond_Hair"] == 1) for index in members]
        assert split.bias.tolist() == [int(labels[index]["Male"] == 1) for index in members]
        with Image.open(root / "celeba" / "img_align_celeba" / NAMES[members[3]]) as image:
            expected = numpy.asarray(image.convert("RGB").resize((14, 14), Image.Resampling.BILINEAR))
        assert numpy.array_equal(split.read(torch.tensor([3]))[0].permute(1, 2, 0), expected)
    assert data.class_names == ("not Blond_Hair", "Blond_Hair")
    assert data.bias_names == ("not Male", "Male")
    assert data.aligned_groups().tolist() == [[False, True], [True, False]]
    assert data.augment == CropAndFlip(0)
    assert data.normalize == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert load(root, protocol="published").fingerprint == data.fingerprint


def test_other_attributes_are_read_from_the_same_images(root: Path, labels: list[dict[str, int]]) -> None:
    first = load(root)
    data = load(root, target_attribute="Young", bias_attribute="5_o_Clock_Shadow")
    assert data.test.target.tolist() == [int(row["Young"] == 1) for row in labels[48:]]
    assert data.test.bias.tolist() == [int(row["5_o_Clock_Shadow"] == 1) for row in labels[48:]]
    assert data.fingerprint != first.fingerprint
    assert len(list((root / "cache").glob("celeba-*.safetensors"))) == 1


def test_the_archive_of_kaggle(root: Path, labels: list[dict[str, int]]) -> None:
    expected = load(root)
    folder = root / "celeba"
    (folder / "img_align_celeba").rename(folder / "images")
    (folder / "img_align_celeba").mkdir()
    (folder / "images").rename(folder / "img_align_celeba" / "img_align_celeba")
    rows = [",".join([name, *map(str, row.values())]) for name, row in zip(NAMES, labels, strict=True)]
    (folder / "list_attr_celeba.csv").write_text("\n".join([",".join(["image_id", *ATTRIBUTES]), *rows]) + "\n")
    splits = [f"{name},{split}\n" for name, split in zip(NAMES, SPLIT, strict=True)]
    (folder / "list_eval_partition.csv").write_text("".join(["image_id,partition\n", *splits]))
    for name in celeba.CHECKSUMS:
        (folder / name).unlink()
    assert load(root).fingerprint == expected.fingerprint


def test_damaged_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "celeba"
    whole = (folder / "list_attr_celeba.txt").read_text()
    (folder / "list_attr_celeba.txt").write_text(whole[:-200])
    with pytest.raises(
        UserError, match=r"list_attr_celeba\.txt is damaged: MD5 .*, expected .*; download it again from http"
    ):
        load(root)
    monkeypatch.setattr(celeba, "CHECKSUMS", {})
    with pytest.raises(UserError, match=r"cannot read the attributes of 000059\.jpg; replace it by the original file"):
        load(root)
    (folder / "list_attr_celeba.txt").write_text(whole.replace("Young", "Yung"))
    with pytest.raises(UserError, match=r"list_attr_celeba\.txt has no attribute Young; replace it by the original"):
        load(root, target_attribute="Young")
    (folder / "list_attr_celeba.txt").write_text(whole)
    splits = (folder / "list_eval_partition.txt").read_text()
    (folder / "list_eval_partition.txt").write_text(splits.replace("000007.jpg 0", "000007.jpg 3"))
    with pytest.raises(
        UserError, match=r"list_eval_partition\.txt has no split for 000007\.jpg; replace it by the orig"
    ):
        load(root)
    (folder / "list_eval_partition.txt").write_text(splits)
    for name in NAMES[4:6]:
        (folder / "img_align_celeba" / name).unlink()
    with pytest.raises(
        UserError, match=r"img_align_celeba lacks 2 images, such as 000005\.jpg; unpack img_align_celeb"
    ):
        load(root)


def test_nothing_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path)
    assert str(error.value) == (
        f"celeba needs {tmp_path}/celeba/img_align_celeba (and 2 more), which is missing;"
        f" for details: python main.py inspect with celeba data.root={tmp_path}"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.target_attribute=Blonde_Hair", "unknown attribute 'data.target_attribute=Blonde_Hair'; did you mean"
         " 'Blond_Hair'? one of 5_o_Clock_Shadow"),
        ("data.bias_attribute=male", "unknown attribute 'data.bias_attribute=male'; did you mean 'Male'?"),
        ("data.bias_attribute=Blond_Hair", "must be another attribute than data.target_attribute=Blond_Hair"),
        ("data.image_size=0", "data.image_size=0: must be 1 to 4096"),
    ],
)  # fmt: skip
def test_settings_out_of_range(command: Command, setting: str, message: str) -> None:
    outcome = command("inspect", "with", "celeba", setting)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
