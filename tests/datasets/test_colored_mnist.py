"""Colored MNIST from files in MNIST's own format; the pixels are scikit-learn's digits."""

import hashlib
import struct
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray

from debiaslab.core.errors import UserError
from debiaslab.datasets import colored_mnist, dataset_config, mnist
from debiaslab.datasets.digits import read_digits


def write_idx(path: Path, array: NDArray[numpy.uint8]) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as torchvision lays it out, with 1,000 training and 200 test digits."""
    images, target = read_digits()
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, part in (("train", slice(0, 1000)), ("t10k", slice(1000, 1200))):
        write_idx(raw / f"{name}-images-idx3-ubyte", images[part])
        write_idx(raw / f"{name}-labels-idx1-ubyte", target[part].astype(numpy.uint8))
    for name in mnist.CHECKSUMS:
        monkeypatch.setitem(mnist.CHECKSUMS, name, hashlib.sha256((raw / name).read_bytes()).hexdigest())
    monkeypatch.setattr(colored_mnist, "NUM_VALID", 100)
    return tmp_path


def test_protocols(root: Path) -> None:
    holdout = dataset_config({"name": "colored_mnist", "root": str(root)}).load()
    published = dataset_config({"name": "colored_mnist", "root": str(root), "protocol": "published"}).load()
    assert (len(holdout.train), len(published.train)) == (900, 1000)
    assert published.valid is None
    assert holdout.valid is not None
    assert len(holdout.valid) == 100
    assert holdout.test.all_images().equal(published.test.all_images())
    assert holdout.fingerprint != published.fingerprint


def test_iid_shares_out_the_published_training_images(root: Path) -> None:
    iid, published = (
        dataset_config({"name": "colored_mnist", "root": str(root), "protocol": protocol, "skew": 0.3}).load()
        for protocol in ("iid", "published")
    )
    assert iid.valid is not None
    assert len(iid.train) + len(iid.valid) == 1000
    assert 90 <= len(iid.valid) <= 100
    assert 0.15 < float((iid.valid.bias != iid.valid.target).float().mean()) < 0.45
    assert iid.test.all_images().equal(published.test.all_images())
    assert iid.fingerprint != published.fingerprint


def test_the_built_data_are_read_again_without_mnist(root: Path) -> None:
    config = dataset_config({"name": "colored_mnist", "root": str(root)})
    built = config.load()
    for file in (root / "MNIST" / "raw").iterdir():
        file.unlink()
    again = config.load()
    assert again.train.all_images().equal(built.train.all_images())
    assert again.train.bias.equal(built.train.bias)


def test_reverse_swaps_target_and_bias(root: Path) -> None:
    plain = dataset_config({"name": "colored_mnist", "root": str(root)}).load()
    swapped = dataset_config({"name": "colored_mnist", "root": str(root), "reverse": True}).load()
    assert swapped.train.target.equal(plain.train.bias)
    assert swapped.train.bias.equal(plain.train.target)
    assert swapped.fingerprint != plain.fingerprint


def test_lff_folder_layout_is_found(root: Path) -> None:
    (root / "elsewhere" / "MNIST").mkdir(parents=True)
    (root / "MNIST").rename(root / "elsewhere" / "MNIST" / "MNIST")
    assert len(dataset_config({"name": "colored_mnist", "root": str(root / "elsewhere")}).load().test) == 200


def test_damaged_file(root: Path) -> None:
    file = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    expected = mnist.CHECKSUMS[file.name]
    file.write_bytes(file.read_bytes()[:-100])
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(UserError) as error:
        dataset_config({"name": "colored_mnist", "root": str(root)}).load()
    assert str(error.value) == (
        f"{file} is damaged: SHA-256 {found}, expected {expected}; delete the file to download it again"
    )
    assert not list(root.glob("cache/*"))


def test_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(submodule: str) -> object:
        class Datasets:
            @staticmethod
            def MNIST(root: Path, download: bool) -> None:  # noqa: N802
                raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nno route to host")

        return Datasets

    monkeypatch.setattr(mnist, "torchvision", no_network)
    with pytest.raises(
        UserError, match=r"MNIST is not in .* could not be downloaded \(no route to host\);.* name another"
    ):
        dataset_config({"name": "colored_mnist", "root": str(tmp_path / "missspelt" / "data")}).load()
    assert list(tmp_path.iterdir()) == []


def test_unreadable_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write into .*file/root.*data\.(root|cache)=DIR"):
        dataset_config({"name": "colored_mnist", "root": str(tmp_path / "file" / "root")}).load()


def test_damaged_cache(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataset_config({"name": "colored_mnist", "root": str(root)})
    whole = config.load()
    (file,) = (root / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert config.load().fingerprint == whole.fingerprint
    assert "rebuilding it" in capsys.readouterr().err
