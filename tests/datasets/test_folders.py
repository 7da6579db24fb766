import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, Split, dataset_config
from debiaslab.datasets.base import CIFAR10_STATISTICS
from debiaslab.datasets.pixels import MappedImages
from debiaslab.methods import Phase
from debiaslab.training.batches import Batches
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded, rows_of

CPU = torch.device("cpu")
NUM_CLASSES = {"bffhq": 2, "dogs_and_cats": 2, "cmnist": 10, "cifar10c": 10}
ALIGNED = 10  # training images of each class; one more conflicts


def load(root: Path, name: str = "bffhq", **settings: object) -> BiasedDataset:
    sizes = {} if name in ("cmnist", "cifar10c") else {"image_size": 32}
    return loaded({"name": name, "root": str(root), **sizes, **settings})


def write_train(folder: Path, num_classes: int, aligned: int = ALIGNED) -> None:
    align = [folder / f"align/{c}/{n}_{c}_{c}.png" for c in range(num_classes) for n in range(aligned)]
    conflict = [folder / f"conflict/{c}/{c}_{c}_{(c + 1) % num_classes}.png" for c in range(num_classes)]
    write_images([*align, *conflict])


def write_all_groups(folder: Path, num_classes: int, nested: bool) -> None:
    pairs = [(c, b) for c in range(num_classes) for b in range(num_classes)]
    write_images([folder / (str(c) if nested else "") / f"{n}_{c}_{b}.png" for n, (c, b) in enumerate(pairs)], 500)


def write_authors_layout(root: Path, name: str, percent: str) -> Path:
    """As the authors of the data set lay it out."""
    folder, num_classes = root / name, NUM_CLASSES[name]
    write_train(folder / percent, num_classes)
    valid = folder / "valid" if name == "bffhq" else folder / percent / "valid"
    write_all_groups(valid, num_classes, nested=name == "cifar10c")
    write_all_groups(folder / "test", num_classes, nested=name != "bffhq")
    return folder


@pytest.fixture
def bffhq(tmp_path: Path) -> Path:
    return write_authors_layout(tmp_path, "bffhq", "0.5pct")


def labels(split: Split) -> list[tuple[int, int]]:
    return list(zip(split.target.tolist(), split.bias.tolist(), strict=True))


# ---- layouts


@pytest.mark.parametrize("name", NUM_CLASSES)
def test_authors_layout(tmp_path: Path, name: str) -> None:
    folder, num_classes = write_authors_layout(tmp_path, name, "1pct"), NUM_CLASSES[name]
    data = load(tmp_path, name, percent=1)
    assert (data.name, data.num_classes, data.num_biases) == (name, num_classes, num_classes)
    aligned = [(c, c) for c in range(num_classes) for _ in range(ALIGNED)]
    assert labels(data.train) == aligned + [(c, (c + 1) % num_classes) for c in range(num_classes)]
    everything = [(c, b) for c in range(num_classes) for b in range(num_classes)]
    assert data.valid is not None
    assert sorted(labels(data.valid)) == sorted(labels(data.test)) == everything
    if name == "cmnist":
        assert data.normalize is None
        assert data.augment is None
    else:
        assert data.normalize == CIFAR10_STATISTICS
        assert data.augment is not None
    # the pixels belong to the labels
    position = labels(data.test).index((1, 0))
    (path,) = folder.glob("test/**/*_1_0.png")
    size = {"cmnist": 28}.get(name, 32)
    expected = numpy.asarray(Image.open(path).resize((size, size), Image.Resampling.BILINEAR))
    assert numpy.array_equal(data.test.read(torch.tensor([position]))[0].permute(1, 2, 0).numpy(), expected)


def test_default_size_of_photos(bffhq: Path) -> None:
    data = dataset_config({"name": "bffhq", "root": str(bffhq.parent)}).load()
    assert data.train.image_shape == (3, 224, 224)


def test_flat_and_nested_are_the_same(bffhq: Path) -> None:
    flat = load(bffhq.parent)
    for part in ("valid", "test"):
        for path in sorted((bffhq / part).iterdir()):
            (bffhq / part / path.stem.split("_")[1]).mkdir(exist_ok=True)
            path.rename(bffhq / part / path.stem.split("_")[1] / path.name)
    nested = load(bffhq.parent)
    assert labels(nested.test) == labels(flat.test)
    assert nested.fingerprint == flat.fingerprint


def test_percent_chooses_the_folder(bffhq: Path) -> None:
    write_train(bffhq / "5pct", 2, aligned=3)
    half, five = load(bffhq.parent), load(bffhq.parent, percent=5)
    assert (len(half.train), len(five.train)) == (2 * ALIGNED + 2, 2 * 3 + 2)
    assert half.fingerprint != five.fingerprint
    assert isinstance(half.test.reader, MappedImages)
    assert isinstance(five.test.reader, MappedImages)
    assert half.test.reader.path == five.test.reader.path  # decoded once


def test_a_percentage_has_its_own_validation_images(bffhq: Path) -> None:
    write_images([bffhq / "0.5pct" / "valid" / f"{n}_{c}_{c}.png" for c in range(2) for n in range(2)])
    data = load(bffhq.parent)
    assert data.valid is not None
    assert labels(data.valid) == [(0, 0), (1, 1)] * 2  # sorted by name


def test_denetdm_layout(tmp_path: Path) -> None:
    folder = tmp_path / "bffhq"
    write_train(folder / "train", 2, aligned=19)
    for part in ("valid", "test"):
        write_all_groups(folder / part, 2, nested=False)
    data = load(tmp_path, percent=5)
    assert len(data.train) == 40
    assert (data.train.target != data.train.bias).sum() == 2
    with pytest.raises(UserError, match=r"bffhq/train: 5 % of the images conflict .* use data\.percent=5, or put"):
        load(tmp_path, percent=0.5)
    write_train(folder / "5pct", 2, aligned=3)  # it is clear which these are
    assert len(load(tmp_path, percent=5).train) == 8


# ---- protocols


def test_both_protocols_take_the_authors_splits(bffhq: Path) -> None:
    held_out, published = load(bffhq.parent), load(bffhq.parent, protocol="published")
    assert held_out.fingerprint == published.fingerprint
    assert held_out.valid is not None


def test_without_validation_images(bffhq: Path) -> None:
    shutil.rmtree(bffhq / "valid")
    data = load(bffhq.parent)
    assert data.valid is not None
    assert labels(data.valid) == [(0, 0), (1, 1)]  # a tenth of ten; none of the only conflicting image of a class
    assert len(data.train) == 2 * ALIGNED + 2 - 2
    assert not set(rows_of(data.train)) & set(rows_of(data.valid))
    other = load(bffhq.parent, seed=1)
    assert other.fingerprint != data.fingerprint
    published = load(bffhq.parent, protocol="published")
    assert published.valid is None
    assert len(published.train) == 2 * ALIGNED + 2


def test_iid_splits_training_images_whatever_is_there(bffhq: Path) -> None:
    data, published = load(bffhq.parent, protocol="iid"), load(bffhq.parent, protocol="published")
    assert data.valid is not None
    assert [len(data.train) + len(data.valid), len(data.valid)] == [len(published.train), 2]
    assert data.valid.target.tolist() == [0, 1]
    assert data.fingerprint != published.fingerprint


def test_equal_content_has_an_equal_fingerprint(bffhq: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "bffhq"
    shutil.copytree(bffhq, copy)
    assert load(copy.parent).fingerprint == load(bffhq.parent).fingerprint
    (copy / "test" / "1_0_1.png").rename(copy / "test" / "1_1_1.png")
    assert load(copy.parent).fingerprint != load(bffhq.parent).fingerprint


# ---- training


def test_batches_in_memory_and_from_file(bffhq: Path) -> None:
    data = load(bffhq.parent)
    phase = Phase(
        name="train",
        update=lambda batch: {},
        logits=lambda images: {},
        training=[nn.Identity()],
        optimizers={},
        batch_size=8,
        epochs=2,
        num_steps=None,
        drop_last=False,
    )
    seen: list[Tensor] = []
    for memory, workers in ((1e9, 0), (0, 2)):
        placed = data.to(CPU, memory)
        assert (placed.train.reader is None) == (memory > 0)
        batches = Batches(placed, phase, 1, with_bias=True, workers=workers)
        seen.append(torch.cat([batch.image for batch in batches.from_step(0)]))
        for batch in batches.from_step(0):
            assert batch.bias is not None
            assert batch.target.equal(data.train.target[batch.index])
            assert batch.bias.equal(data.train.bias[batch.index])
        plain = torch.cat([batch.image for batch in batches.in_order()])
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in CIFAR10_STATISTICS)
        pixels = data.train.read(torch.arange(len(data.train)))
        assert torch.allclose(plain, (pixels / 255 - mean) / std, atol=1e-6)
    assert seen[0].shape == (2 * len(data.train), 3, 32, 32)
    assert seen[0].equal(seen[1])


# ---- bad input


def rename(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return change


def truncate(folder: Path) -> None:
    path = folder / "test" / "1_0_1.png"
    path.write_bytes(path.read_bytes()[:100])


def without_class_1(folder: Path) -> None:
    for part in ("align", "conflict"):
        shutil.rmtree(folder / "0.5pct" / part / "1")
    write_images([folder / "0.5pct/conflict/0/9_0_1.png"])


ALIGN_1, CONFLICT_1 = "0.5pct/align/1/3_1_1.png", "0.5pct/conflict/1/1_1_0.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename(ALIGN_1, "0.5pct/align/1/3.png"), "align/1/3.png: the name must end in _TARGET_BIAS, .*; rename or"),
        (rename(ALIGN_1, "0.5pct/align/1/1_1.png"), "align/1/1_1.png: the name must end in _TARGET_BIAS"),
        (rename(ALIGN_1, "0.5pct/align/1/3_1_old.png"), "align/1/3_1_old.png: the name must end in _TARGET_BIAS"),
        (rename(ALIGN_1, "0.5pct/align/1/3_1_²png.png"), "the name must end in _TARGET_BIAS"),
        (rename(ALIGN_1, "0.5pct/align/1/3_2_2.png"), "3_2_2.png: target 2 in its name, must be 0 to 1; rename"),
        (rename(ALIGN_1, "0.5pct/align/1/3_1_2.png"), "3_1_2.png: bias 2 in its name, must be 0 to 1; rename"),
        (rename(ALIGN_1, "0.5pct/align/1/3_0_0.png"), "3_0_0.png: target 0 in its name, but in the folder of class 1;"),
        (rename(ALIGN_1, "0.5pct/align/1/3_1_0.png"), "3_1_0.png: target 1 and bias 0 .* belongs in .*0.5pct/conflict"),
        (rename(CONFLICT_1, "0.5pct/conflict/1/1_1_1.png"), "1_1_1.png: target 1 and bias 1 .* in .*0.5pct/align"),
        (rename(CONFLICT_1, "spare.png"), "0.5pct: no bias-conflicting image of target class 1 .of 2.; complete the"),
        (without_class_1, r"0.5pct: no .* of target class 1 \(of 2\); complete the download"),
        (rename("test/1_0_1.png", "test/more/deep/1_0_1.png"), "test/more/deep is not an image .*; move it out of"),
        (
            rename("test/1_0_1.png", "test/1_0_1.txt"),
            r"test/1_0_1.txt is not an image \(.png, .*; move it out of .*test",
        ),
        (lambda folder: (folder / "valid" / "0_1_1.png").write_text("text"), "valid/0_1_1.png is not a complete image"),
        (truncate, "test/1_0_1.png is not a complete image .*; replace or remove the file"),
        (lambda folder: [path.unlink() for path in (folder / "valid").iterdir()], "valid: no image; put the images"),
        (
            lambda folder: [path.unlink() for path in (folder / "test").glob("*_1_?.png")],
            "test: no image of .* class 1",
        ),
        (
            lambda folder: shutil.rmtree(folder / "test"),
            "test is not there; type `python main.py inspect with bffhq data.root=",
        ),
        (
            lambda folder: shutil.rmtree(folder / "0.5pct/conflict"),
            "0.5pct/conflict is not there; type `python main.py",
        ),
        (
            shutil.rmtree,
            "bffhq/0.5pct/align is not there; type `python main.py inspect with bffhq data.root=",
        ),
    ],
)
def test_bad_input_is_named(bffhq: Path, change: Callable[[Path], object], message: str) -> None:
    change(bffhq)
    with pytest.raises(UserError, match=message) as error:
        load(bffhq.parent)
    assert "\n" not in str(error.value)


def test_hidden_files_and_junk_are_passed_over(bffhq: Path) -> None:
    expected = load(bffhq.parent).fingerprint
    for junk in (".DS_Store", "Thumbs.db", "test/.hidden.png", "0.5pct/align/0/._3_0_0.png", "test/__MACOSX/x.txt"):
        (bffhq / junk).parent.mkdir(exist_ok=True)
        (bffhq / junk).write_text("junk")
    assert load(bffhq.parent).fingerprint == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percent": 3}, "data.percent=3.0: must be one of 0.5, 1, 2, 5"),
        ({"percent": 0}, "data.percent=0.0: must be one of 0.5, 1, 2, 5"),
        ({"image_size": 0}, "data.image_size=0: must be 1 to 4096"),
        ({"protocol": "own"}, "data.protocol='own': must be holdout, iid, published"),
        ({"skew": 0.1}, "data.skew is not a setting of bffhq"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        dataset_config({"name": "bffhq", **settings})


def test_a_cache_folder_that_cannot_be_made(bffhq: Path) -> None:
    (bffhq.parent / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write into .*file/cache.*; choose another with data\.cache=DIR"):
        load(bffhq.parent, cache=str(bffhq.parent / "file" / "cache"))


@pytest.mark.parametrize("name", NUM_CLASSES)
def test_sources(tmp_path: Path, name: str) -> None:
    config = dataset_config({"name": name, "root": str(tmp_path), "percent": 1})
    assert not any(source.is_there for source in config.sources())
    write_authors_layout(tmp_path, name, "1pct")
    assert all(source.is_there for source in config.sources())
    assert all("https://github.com/kakaoenterprise/" in source.origin for source in config.sources())
