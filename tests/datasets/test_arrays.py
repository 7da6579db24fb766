import os
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from debiaslab.core.errors import UserError
from debiaslab.datasets import dataset_config
from debiaslab.datasets.arrays import read_arrays
from debiaslab.datasets.bias import assign_bias


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An array folder as LfF's code writes it: 1,000 training and 100 test images."""
    generator = numpy.random.default_rng(0)
    for part, size in (("train", 1000), ("valid", 100)):
        target = numpy.arange(size) % 10
        bias = assign_bias(target, 0.9 if part == "train" else 0.1, num_classes=10)
        (tmp_path / part).mkdir()
        numpy.save(tmp_path / part / "images.npy", generator.integers(0, 256, (size, 28, 28, 3), dtype=numpy.uint8))
        numpy.save(tmp_path / part / "attrs.npy", numpy.stack([target, bias], axis=1).astype(numpy.uint8))
    (tmp_path / "attr_names.pkl").write_bytes(b"never opened")
    return tmp_path


def test_published(folder: Path) -> None:
    data = dataset_config(
        {"name": "colored_mnist", "arrays": str(folder), "protocol": "published", "skew": None, "severity": None}
    ).load()
    images = numpy.load(folder / "train" / "images.npy")
    assert data.valid is None
    assert (len(data.train), len(data.test), data.num_classes, data.num_biases) == (1000, 100, 10, 10)
    assert numpy.array_equal(data.train.all_images().numpy().transpose(0, 2, 3, 1), images)
    assert (data.train.target != data.train.bias).sum() == 100


def test_validation_takes_the_same_share_of_aligned_and_conflicting_images(folder: Path) -> None:
    data = read_arrays(folder, "colored_mnist", num_valid=200, seed=0, reverse=False)
    assert data.valid is not None
    assert len(data.valid) + len(data.train) == 1000
    aligned = (data.valid.target == data.valid.bias).sum()
    assert aligned == 10 * 18  # 20 % of the 90 aligned images of each class
    assert len(data.valid) - aligned == 10 * 2  # and of its ten conflicting ones, of which no group has five
    again = read_arrays(folder, "colored_mnist", num_valid=200, seed=0, reverse=False)
    assert again.valid is not None
    assert again.valid.all_images().equal(data.valid.all_images())


def test_reverse(folder: Path) -> None:
    plain, swapped = (read_arrays(folder, "colored_mnist", 0, 0, reverse) for reverse in (False, True))
    assert swapped.train.target.equal(plain.train.bias)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("images", numpy.zeros((1000, 28, 28), numpy.uint8), r"images.npy: uint8 \[1000, 28, 28\], expected uint8"),
        ("images", numpy.zeros((1000, 3, 28, 28), numpy.uint8), r"images.npy: uint8 \[1000, 3, 28, 28\], expected"),
        ("images", numpy.zeros((1000, 28, 28, 3), numpy.float32), r"images.npy: float32 .*expected uint8"),
        (
            "attrs",
            numpy.zeros((999, 2), numpy.uint8),
            r"attrs.npy: uint8 \[999, 2\], expected integers \[1000, 2 or more",
        ),
        ("attrs", numpy.zeros((1000,), numpy.uint8), r"attrs.npy: uint8 \[1000\], expected integers"),
        ("attrs", numpy.full((1000, 2), 255, numpy.uint8), r"attrs.npy: label 255, expected 0 to 9"),
        ("attrs", numpy.full((1000, 2), -1, numpy.int64), r"attrs.npy: label -1, expected 0 to 9"),
        ("attrs", numpy.full((1000, 2), 3, numpy.uint8), r"attrs.npy: no image of target class 0"),
    ],
)
def test_wrong_arrays(folder: Path, name: str, array: numpy.ndarray, message: str) -> None:
    numpy.save(folder / "train" / f"{name}.npy", array)
    with pytest.raises(UserError, match=message):
        read_arrays(folder, "colored_mnist", 0, 0, False)


def test_missing_and_pickled_files(folder: Path) -> None:
    numpy.save(folder / "train" / "attrs.npy", numpy.array([object()]), allow_pickle=True)
    with pytest.raises(UserError, match=r"attrs.npy is not an array of numbers; write it with numpy.save, without"):
        read_arrays(folder, "colored_mnist", 0, 0, False)
    (folder / "train" / "images.npy").unlink()
    with pytest.raises(UserError, match=r"images.npy is not there; data.arrays names a folder"):
        read_arrays(folder, "colored_mnist", 0, 0, False)


def archive(path: Path) -> None:
    numpy.savez(path.with_suffix(""), images=numpy.zeros(3))
    path.with_suffix(".npz").replace(path)


def huge(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(1000, 28, 28, 3)", b"(99999999999999, 28, 28, 3)", 1).ljust(len(content)))


@pytest.mark.parametrize(
    "damage",
    [
        archive,
        huge,
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)),
        lambda path: path.write_bytes(path.read_bytes()[:5]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"descr", b"decsr")),
    ],
)
def test_files_of_another_kind(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder / "train" / "images.npy")
    with pytest.raises(UserError, match=r"images\.npy is not an array of numbers; write it with numpy\.save"):
        read_arrays(folder, "colored_mnist", 0, 0, False)


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "train" / "images.npy").unlink()
    os.mkfifo(folder / "train" / "images.npy")
    with pytest.raises(UserError, match=r"images\.npy is a pipe, a socket or a device; give a file"):
        read_arrays(folder, "colored_mnist", 0, 0, False)
