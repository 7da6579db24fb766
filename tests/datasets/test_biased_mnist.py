"""Biased MNIST; the digits are scikit-learn's, but for one test on MNIST itself."""

import hashlib
import os
from math import ceil
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, biased_mnist, dataset_config, mnist
from debiaslab.datasets.biased_mnist import COLORS, assign_background, color_background
from debiaslab.datasets.digits import read_digits
from tests.datasets.loading import loaded
from tests.datasets.test_colored_mnist import write_idx

NUM_TRAIN, NUM_TEST = 1000, 300


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as torchvision lays it out."""
    images, target = read_digits()
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, part in (("train", slice(0, NUM_TRAIN)), ("t10k", slice(NUM_TRAIN, NUM_TRAIN + NUM_TEST))):
        write_idx(raw / f"{name}-images-idx3-ubyte", images[part])
        write_idx(raw / f"{name}-labels-idx1-ubyte", target[part].astype(numpy.uint8))
    for name in mnist.CHECKSUMS:
        monkeypatch.setitem(mnist.CHECKSUMS, name, hashlib.sha256((raw / name).read_bytes()).hexdigest())
    monkeypatch.setattr(biased_mnist, "NUM_VALID", 100)
    return tmp_path


def load(root: Path, **settings: object) -> BiasedDataset:
    return loaded({"name": "biased_mnist", "root": str(root), **settings})


def generator() -> numpy.random.Generator:
    return numpy.random.default_rng(0)


def counts(target: NDArray[numpy.int64], bias: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
    table = numpy.zeros((10, 10), dtype=numpy.int64)
    numpy.add.at(table, (target, bias), 1)
    return table


# ---- the protocol


@pytest.mark.parametrize("rho", [1.0, 0.999, 0.997, 0.99, 0.5, 0.1, 0.0])
@pytest.mark.parametrize("n_confusing", [9, 4, 1])
def test_counts_of_every_class(rho: float, n_confusing: int) -> None:
    _, target = read_digits()
    table = counts(target, assign_background(target, rho, n_confusing, generator()))
    for label in range(10):
        size = int((target == label).sum())
        assert table[label, label] == int(size * rho)
        others = size - int(size * rho)
        chunk = ceil(others / n_confusing)
        confusing = [(label + step) % 10 for step in range(1, n_confusing + 1)]
        expected, left = [], others
        for _ in confusing:
            expected.append(min(chunk, left))
            left -= expected[-1]
        assert sorted(table[label, confusing].tolist(), reverse=True) == expected
        assert table[label].sum() == size


def test_which_images_conflict_and_how_is_random() -> None:
    target = numpy.zeros(1000, dtype=numpy.int64)
    first, again = (assign_background(target, 0.95, 9, generator()) for _ in range(2))
    other = assign_background(target, 0.95, 9, numpy.random.default_rng(1))
    assert (first == again).all()
    assert (first != other).any()
    conflicting = numpy.flatnonzero(first)
    assert conflicting.min() < 200
    assert conflicting.max() > 800
    # the chunk that is cut short is not always that of the same colour
    short = {
        int(counts(target, assign_background(target, 0.95, 9, numpy.random.default_rng(seed)))[0, 1:].argmin())
        for seed in range(10)
    }
    assert len(short) > 1


def test_a_missing_class_and_few_samples() -> None:
    target = numpy.array([3, 3, 5])
    assert assign_background(target, 1.0, 9, generator()).tolist() == [3, 3, 5]
    assert (assign_background(target, 0.0, 9, generator()) != target).all()


def test_colors() -> None:
    digits = numpy.array([[[0, 1], [128, 255]]] * 10, dtype=numpy.uint8)
    images = color_background(digits, numpy.arange(10))
    assert images.dtype == numpy.uint8
    assert images.shape == (10, 3, 2, 2)
    assert (images[:, :, 0, 0] == COLORS).all()
    assert (images[:, :, [0, 1, 1], [1, 0, 1]] == 255).all()
    assert COLORS[3].tolist() == [225, 225, 0]
    assert len({tuple(color) for color in COLORS.tolist()}) == 10


# ---- the data set


def test_splits(root: Path) -> None:
    data = load(root, rho=0.9)
    assert data.valid is not None
    sizes = {name: len(split) for name, split in data.evaluation_splits().items()}
    assert sizes == {"valid": 100, "test": NUM_TEST, "test_biased": NUM_TEST, "test_rho0": NUM_TEST}
    assert len(data.train) == NUM_TRAIN - 100
    biased, rho0 = data.extra["test_biased"], data.extra["test_rho0"]
    assert biased.bias.equal(biased.target)
    assert not (rho0.bias == rho0.target).any()
    for split in (data.valid, data.test):
        table = counts(split.target.numpy(), split.bias.numpy())
        sizes_of_classes = table.sum(axis=1)
        assert table.diagonal().tolist() == [int(size * 0.1) for size in sizes_of_classes]
    assert data.normalize == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def digits_of(data: BiasedDataset, split: str) -> list[bytes]:
    """The digit of every image without its colour."""
    chosen = {"train": data.train, **data.evaluation_splits()}[split]
    white = (chosen.all_images() == 255).all(dim=1)
    return [bytes(shape) for shape in white.flatten(1).numpy()]


def test_holdout_keeps_its_digits_out_of_training(root: Path) -> None:
    data = load(root)
    images, _ = read_digits()
    assert digits_of(data, "train") + digits_of(data, "valid") == [bytes(i.ravel() != 0) for i in images[:NUM_TRAIN]]


def test_published_validates_on_training_digits_as_end_does(root: Path) -> None:
    data = load(root, protocol="published", rho=1.0)
    train, valid = digits_of(data, "train"), digits_of(data, "valid")
    assert (len(train), len(valid)) == (NUM_TRAIN, 300)
    assert set(valid) <= set(train)
    assert len({bytes(v) for v in valid}) > 290  # different ones
    assert data.valid is not None
    assert (data.valid.bias != data.valid.target).float().mean() > 0.85
    assert data.train.bias.equal(data.train.target)
    assert data.test.all_images().equal(load(root).test.all_images())  # the same test images in both protocols


def test_it_is_a_function_of_root_variant_and_seed(root: Path) -> None:
    first = load(root, rho=0.9, cache=str(root / "one"))
    again = load(root, rho=0.9, cache=str(root / "two"))
    assert first.fingerprint == again.fingerprint
    for name, split in {"train": first.train, **first.evaluation_splits()}.items():
        other = {"train": again.train, **again.evaluation_splits()}[name]
        assert split.all_images().equal(other.all_images())
        assert split.bias.equal(other.bias)
    for change in ({"seed": 1}, {"rho": 0.8}, {"n_confusing": 3}, {"protocol": "published"}):
        changed = load(root, **{"rho": 0.9, **change})
        assert changed.fingerprint != first.fingerprint
        assert len(changed.train) != len(first.train) or not changed.train.bias.equal(first.train.bias)


def test_the_cache_replaces_mnist(root: Path) -> None:
    built = load(root)
    for file in (root / "MNIST" / "raw").iterdir():
        file.unlink()
    again = load(root)
    assert again.train.all_images().equal(built.train.all_images())
    assert again.extra["test_rho0"].bias.equal(built.extra["test_rho0"].bias)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("rho", 1.5, "data.rho=1.5: must be from 0 to 1"),
        ("n_confusing", 10, "data.n_confusing=10: must be 1 to 9"),
        ("protocol", "leaky", "data.protocol='leaky': must be holdout, iid, published"),
        ("skew", 0.1, "data.skew is not a setting of biased_mnist; its settings: "),
    ],
)
def test_settings_are_checked(setting: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        dataset_config({"name": "biased_mnist", setting: value})
    assert str(error.value).startswith(message)


def test_mnist_itself(tmp_path: Path) -> None:
    folder = Path(os.environ.get("DEBIAS_DATA", "data"))
    if not (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip("no MNIST in the folder that DEBIAS_DATA names")
    data = load(folder, protocol="published", rho=0.997, cache=str(tmp_path))
    sizes = numpy.bincount(data.train.target.numpy())
    table = counts(data.train.target.numpy(), data.train.bias.numpy())
    conflicting = sizes - table.diagonal()
    assert sizes.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert conflicting.tolist() == [18, 21, 18, 19, 18, 17, 18, 19, 18, 18]
    assert data.valid is not None
    assert len(data.valid) == 18_000
