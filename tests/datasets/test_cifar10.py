"""Sources of CIFAR-10: small files in the original format, and folders of images. The pixels are real ones."""

import hashlib
import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray
from PIL import Image

from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.datasets import cifar10 as module
from debiaslab.datasets.cifar10 import ARCHIVE, CHECKSUMS, FOLDER, URL, _ArrayUnpickler, cifar10, cifar10_files
from debiaslab.datasets.cifar10_images import CLASSES, list_files
from tests.datasets.cifar10_files import pictures, write_images


def write_batches(folder: Path, images: NDArray[numpy.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    """The six files with as many images each, label of image i: i mod 10; pickled as the originals are."""
    folder.mkdir(parents=True)
    for name, part in zip(CHECKSUMS, numpy.array_split(numpy.arange(len(images)), len(CHECKSUMS)), strict=True):
        batch = {b"labels": (part % 10).tolist(), b"data": images[part].reshape(len(part), -1)}
        content = pickle.dumps(batch, protocol=3).replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
        assert b"cnumpy.core.multiarray\n_reconstruct" in content
        (folder / name).write_bytes(content)
        monkeypatch.setitem(CHECKSUMS, name, hashlib.md5(content).hexdigest())


@pytest.fixture
def images() -> NDArray[numpy.uint8]:
    return pictures(48)


@pytest.mark.parametrize("place", ["cifar-10-batches-py", "CIFAR10/cifar-10-batches-py"])
def test_original_files(
    place: str, tmp_path: Path, images: NDArray[numpy.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_batches(tmp_path / place, images, monkeypatch)
    write_images(tmp_path / "cifar10", 3, 1)  # the original files come first
    source = cifar10(tmp_path, tmp_path / "cache")
    (train, train_target), (test, test_target) = source.read()
    assert source.content == CHECKSUMS
    assert numpy.array_equal(numpy.concatenate([train, test]), images)
    assert numpy.concatenate([train_target, test_target]).tolist() == [index % 10 for index in range(48)]
    assert (len(train), len(test)) == (40, 8)


def test_checksums_are_torchvisions() -> None:
    official = torchvision("datasets").CIFAR10
    assert dict([*official.train_list, *official.test_list]) == dict(CHECKSUMS)
    assert (official.url, official.filename) == (URL, ARCHIVE)
    assert (official.tgz_md5, official.base_folder) == (module.ARCHIVE_CHECKSUM, FOLDER)


def test_damaged_original_file(tmp_path: Path, images: NDArray[numpy.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    write_batches(tmp_path / FOLDER, images, monkeypatch)
    file = tmp_path / FOLDER / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"data_batch_3 is damaged: MD5 .* expected .* delete the file"):
        cifar10(tmp_path, tmp_path / "cache").read()


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo attacked > attacked",)


def test_no_file_makes_the_process_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({b"data": Attack()}, protocol=3)
    with pytest.raises(pickle.UnpicklingError, match="system in a file of arrays"):
        _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    assert not Path("attacked").exists()


def test_packed_original_files(tmp_path: Path, images: NDArray[numpy.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive alone is enough: nothing is downloaded."""
    root, source = tmp_path / "root", tmp_path / "source" / FOLDER
    write_batches(source, images, monkeypatch)
    root.mkdir()
    with tarfile.open(root / ARCHIVE, "w:gz") as archive:
        archive.add(source, FOLDER)
    checksum = hashlib.md5((root / ARCHIVE).read_bytes()).hexdigest()
    monkeypatch.setattr(module, "ARCHIVE_CHECKSUM", checksum)
    (train, _), _ = cifar10(root, tmp_path / "cache").read()
    assert numpy.array_equal(train, images[:40])


def test_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(submodule: str) -> object:
        class Utilities:
            @staticmethod
            def download_and_extract_archive(*arguments: object, **named: object) -> None:
                raise OSError("<urlopen error no route to host>\nmore")

        return Utilities

    monkeypatch.setattr(module, "torchvision", no_network)
    with pytest.raises(UserError) as error:
        cifar10(tmp_path, tmp_path / "cache").read()
    assert str(error.value) == (
        f"CIFAR-10 is neither in {tmp_path}/cifar-10-batches-py nor in {tmp_path}/cifar10, and {URL}"
        f" could not be downloaded (<urlopen error no route to host>); put that file, still packed, into {tmp_path}, or"
        f" images into {tmp_path}/cifar10/{{train,test}}/<class>, or name another folder with data.root=DIR"
    )


def test_images(tmp_path: Path) -> None:
    written = write_images(tmp_path / "cifar10", 3, 2)
    (tmp_path / "cifar10" / ".complete").touch()
    (tmp_path / "cifar10" / "train" / "cat" / ".hidden").touch()
    (train, train_target), (test, test_target) = cifar10(tmp_path, tmp_path / "cache").read()
    assert train_target.tolist() == list(range(10)) * 3  # the first of each class, then the second, ...
    assert test_target.tolist() == list(range(10)) * 2
    for index, image in enumerate(train):
        assert numpy.array_equal(image, written["train", CLASSES[index % 10], index // 10])
    assert numpy.array_equal(test[13], written["test", "cat", 1])


def test_classes_of_several_sizes_keep_their_images(tmp_path: Path) -> None:
    write_images(tmp_path, 3, 1)
    (tmp_path / "train" / "bird" / "0002.png").unlink()
    files = list_files(tmp_path / "train")
    assert len(files) == 29
    assert [label for _, label in files[20:]] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert all(path.parent.name == CLASSES[label] for path, label in files)


def test_decoded_once(tmp_path: Path) -> None:
    def decoded() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("cifar10-*.safetensors")}

    write_images(tmp_path / "cifar10", 1, 1)
    first = cifar10(tmp_path, tmp_path / "cache")
    files = decoded()
    again = cifar10(tmp_path, tmp_path / "cache")
    assert decoded() == files
    assert len(files) == 2
    assert again.content == first.content
    assert numpy.array_equal(again.read()[0][0], first.read()[0][0])


def test_content_tells_sources_apart(tmp_path: Path) -> None:
    write_images(tmp_path / "one" / "cifar10", 2, 1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (cifar10(tmp_path / name, tmp_path / f"{name}-cache") for name in ("one", "two"))
    assert one.content == two.content
    file = tmp_path / "two" / "cifar10" / "test" / "dog" / "0000.png"
    Image.fromarray(numpy.asarray(Image.open(file)) ^ 1).save(file)
    assert cifar10(tmp_path / "two", tmp_path / "two-cache").content != one.content
    assert one.content != CHECKSUMS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: shutil.rmtree(root / "test"),
            r"cannot read the folder .*cifar10/test: .* must contain one folder",
        ),
        (
            lambda root: shutil.rmtree(root / "train" / "ship"),
            r"train/ship is missing; .* must contain one folder of images",
        ),
        (
            lambda root: (root / "test" / "ships").mkdir(),
            r"test/ships is not a class of CIFAR-10; did you mean 'ship'\?",
        ),
        (lambda root: (root / "train" / "cat.png").touch(), r"train/cat\.png is not a class of CIFAR-10"),
        (lambda root: (root / "test" / "dog" / "0000.png").unlink(), r"test/dog: no image; put"),
        (
            lambda root: (root / "test" / "dog" / "a.txt").write_text("text"),
            r"dog/a\.txt is not an image \(.*\); move it out",
        ),
        (
            lambda root: (root / "test" / "dog" / "more").mkdir(),
            r"dog/more is not an image \(.*\); move it out",
        ),
        (
            lambda root: truncate(root / "train" / "frog" / "0000.png"),
            r"frog/0000\.png is not a complete image \(.*\); replace or remove the file",
        ),
        (
            lambda root: Image.new("RGB", (64, 32)).save(root / "train" / "deer" / "big.png"),
            r"deer/big\.png is 64x32, images of CIFAR-10 are 32x32; replace",
        ),
    ],
)
def test_bad_folders(change: Any, message: str, tmp_path: Path) -> None:
    write_images(tmp_path / "cifar10", 1, 1)
    change(tmp_path / "cifar10")
    with pytest.raises(UserError, match=message) as error:
        cifar10(tmp_path, tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("cache/corrupted*"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def test_grey_images_become_coloured(tmp_path: Path) -> None:
    write_images(tmp_path / "cifar10", 1, 1)
    Image.new("L", (32, 32), 99).save(tmp_path / "cifar10" / "test" / "airplane" / "0000.png")
    _, (test, _) = cifar10(tmp_path, tmp_path / "cache").read()
    assert (test[0] == 99).all()


def test_files(tmp_path: Path, images: NDArray[numpy.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    (missing,) = cifar10_files(tmp_path)
    assert missing.path == tmp_path / FOLDER
    assert not missing.is_there
    assert URL in missing.origin
    write_images(tmp_path / "cifar10", 1, 1)
    assert [file.path for file in cifar10_files(tmp_path)] == [
        tmp_path / "cifar10" / part for part in ("train", "test")
    ]
    write_batches(tmp_path / "CIFAR10" / FOLDER, images, monkeypatch)
    (original,) = cifar10_files(tmp_path)
    assert original.path == tmp_path / "CIFAR10" / FOLDER
    assert original.is_there


def test_cifar10_itself() -> None:
    folder = Path(os.environ.get("DEBIAS_DATA", "data")) / "cifar10"
    if not folder.is_dir():
        pytest.skip("no folder cifar10 in the folder that DEBIAS_DATA names")
    for split, size in (("train", 50_000), ("test", 10_000)):
        files = list_files(folder / split)
        assert numpy.bincount([label for _, label in files]).tolist() == [size // 10] * 10
        assert sorted(label for _, label in files[-5_000:]) == sorted(list(range(10)) * 500)
