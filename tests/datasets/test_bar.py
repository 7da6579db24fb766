import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, Split, dataset_config
from debiaslab.datasets.bar import ACTIONS
from debiaslab.datasets.bar_split import count_moved
from debiaslab.datasets.base import CIFAR10_STATISTICS
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded, rows_of

NUM_TRAIN, NUM_TEST = 40, 10  # of each action
SPLIT = "cache/bar-split-seed0.json"


def load(root: Path, **settings: object) -> BiasedDataset:
    return loaded({"name": "bar", "root": str(root), "image_size": 16, **settings})


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A data folder with BAR in its own layout."""
    for start, (part, numbers) in enumerate((("train", range(40)), ("test", range(40, 50)))):
        write_images([tmp_path / f"BAR/{part}/{action}_{n}.jpg" for action in ACTIONS for n in numbers], start)
    (tmp_path / "BAR" / ".complete").touch()
    return tmp_path


@pytest.fixture
def bias_ensemble(tmp_path: Path) -> Path:
    """A data folder with BAR in BiasEnsemble's layout."""
    folder = tmp_path / "bar"
    write_images([folder / f"train/align/{c}/{n}_{c}_{n}.jpg" for c in range(6) for n in range(9)])
    for percent, size in (("1pct", 1), ("5pct", 2)):
        write_images([folder / f"train/conflict/{percent}/{c}/{n}_{c}_7.jpg" for c in range(6) for n in range(size)])
    for part, size in (("valid", 3), ("test", 4)):
        write_images([folder / f"{part}/{c}/{n}_{c}_{c}.jpg" for c in range(6) for n in range(size)])
    return tmp_path


def pixels(split: Split) -> list[bytes]:
    return [image.numpy().tobytes() for image in split.read(torch.arange(len(split)))]


def rows(data: BiasedDataset) -> dict[str, list[int]]:
    return {name: rows_of(split) for name, split in data.splits().items()}


# ---- the original layout


def test_the_published_split(original: Path) -> None:
    data = load(original, percent=0, protocol="published")
    assert data.valid is None
    assert (len(data.train), len(data.test)) == (6 * NUM_TRAIN, 6 * NUM_TEST)
    assert data.notes == (
        f"{original / 'BAR' / 'train'} has 240 images, the original 1,941: is the download complete?",
        f"{original / 'BAR' / 'test'} has 60 images, the original 654: is the download complete?",
    )
    assert data.train.bias.equal(data.train.target)
    assert data.test.bias.equal((data.test.target + 1) % 6)
    assert data.train.target.tolist() == [c for c in range(6) for _ in range(NUM_TRAIN)]
    assert (data.num_classes, data.num_biases, data.normalize) == (6, 6, CIFAR10_STATISTICS)
    assert data.augment is not None
    # classes are numbered in the order of ACTIONS, images in that of their numbers
    for position, name in ((0, "train/climbing_0"), (5 * NUM_TRAIN + 10, "train/pole vaulting_10")):
        with Image.open(original / "BAR" / f"{name}.jpg") as image:
            expected = numpy.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
        found = data.train.read(torch.tensor([position]))[0].permute(1, 2, 0)
        assert numpy.array_equal(found.numpy(), expected)


def test_default_size(original: Path) -> None:
    assert dataset_config({"name": "bar", "root": str(original)}).load().train.image_shape == (3, 224, 224)


@pytest.mark.parametrize(("percent", "moved"), [(0, 0), (0.5, 1), (1, 1), (2, 1), (5, 2)])
def test_images_are_moved_into_training(original: Path, percent: float, moved: int) -> None:
    data = load(original, percent=percent)
    assert data.valid is not None
    conflicting = data.train.bias == (data.train.target + 1) % 6
    assert (data.train.bias[~conflicting] == data.train.target[~conflicting]).all()
    assert Counter(data.train.target[conflicting].tolist()) == dict.fromkeys(range(6 if moved else 0), moved)
    assert len(data.train) == 6 * (NUM_TRAIN + moved)
    for split, size in ((data.valid, 1), (data.test, NUM_TEST - 1 - 2)):  # 2: the most that can be moved
        assert Counter(split.target.tolist()) == dict.fromkeys(range(6), size)
        assert split.bias.equal((split.target + 1) % 6)
    everywhere = [row for part in rows(data).values() for row in part]
    assert len(everywhere) == len(set(everywhere))


def test_percentages_share_their_splits(original: Path) -> None:
    one, five = (rows(load(original, percent=percent)) for percent in (1, 5))
    assert one["valid"] == five["valid"]
    assert one["test"] == five["test"]
    assert set(one["train"]) < set(five["train"])


def test_iid_validates_on_training_images(original: Path) -> None:
    holdout, iid = (rows(load(original, percent=5, protocol=protocol)) for protocol in ("holdout", "iid"))
    assert iid["test"] == holdout["test"]
    assert sorted(iid["train"] + iid["valid"]) == sorted(holdout["train"])
    assert len(iid["valid"]) == 6 * 4  # a tenth of 42 images of each action


def test_how_many_are_moved() -> None:
    assert [count_moved(326, percent) for percent in (0, 0.5, 1, 2, 5)] == [0, 2, 3, 7, 17]
    assert count_moved(10, 0.5) == 1


def test_a_seed_stands_for_one_split(original: Path, tmp_path: Path) -> None:
    first = load(original, cache=str(tmp_path / "one"))
    again = load(original, cache=str(tmp_path / "two"))
    assert rows(first) == rows(again)
    assert first.fingerprint == again.fingerprint
    assert (tmp_path / "one/bar-split-seed0.json").read_text() == (tmp_path / "two/bar-split-seed0.json").read_text()
    other = load(original, seed=1)
    assert rows(other)["test"] != rows(first)["test"]
    assert other.fingerprint != first.fingerprint


def test_the_file_is_readable_and_honoured(original: Path) -> None:
    first = load(original)
    content = json.loads((original / SPLIT).read_text())
    assert content["seed"] == 0
    assert set(content["test"]) == set(ACTIONS)
    moved = content["moved"]["diving"][0]
    assert re.fullmatch(r"diving_4\d\.jpg", moved)
    valid = content["valid"]["diving"]
    content["valid"]["diving"], content["test"]["diving"][0] = content["test"]["diving"][:1], valid[0]
    (original / SPLIT).write_text(json.dumps(content))
    changed = load(original)
    assert rows(changed)["train"] == rows(first)["train"]
    assert rows(changed)["valid"] != rows(first)["valid"]
    assert changed.fingerprint != first.fingerprint


def edit(part: str, action: str | None = None, add: object = None) -> Callable[[Path], object]:
    """Write the file without the part, or without the list of an action in it, or with `add` in its place."""

    def change(path: Path) -> None:
        content = json.loads(path.read_text())
        table, key = (content, part) if action is None else (content[part], action)
        removed = table.pop(key)
        if callable(add):
            add(content, removed)
        elif add is not None:
            table[key] = add
        path.write_text(json.dumps(content))

    return change


def to_test(part: str) -> Callable[[Path], object]:
    """All images of diving in this part become test images."""

    def move(content: dict[str, dict[str, list[str]]], removed: list[str]) -> None:
        content["test"]["diving"] += removed
        content[part]["diving"] = []

    return edit(part, "diving", move)


DIVING = [f"diving_{number}.jpg" for number in range(40, 50)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: path.write_text("{"),
            r"is not a split of BAR's test images \(JSONDecodeError: .*; delete the file",
        ),
        (lambda path: path.write_text("[1]"), "is not a split of BAR's test images .TypeError"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not a split of BAR's test images .UnicodeDecodeError"),
        (edit("valid"), "is not a split of BAR's test images .KeyError: 'valid'"),
        (edit("test", "diving"), "is not a split .* not a list for each action"),
        (edit("test", "diving", 3), "is not a split .* not a list for each action"),
        (edit("seed", add=4), "is the split of data.seed=4, not of 0; delete the file"),
        (edit("test", "diving", ["diving_0.jpg"]), "must list each test image of diving once, see diving_0.jpg; del"),
        (edit("test", "diving", []), r"must list each test image of diving once, see diving_4\d.jpg; delete the file"),
        (edit("test", "diving", DIVING), r"must list each test image of diving once, see diving_4\d.jpg; delete"),
        (to_test("valid"), "no validation image of diving; delete the file"),
        (to_test("moved"), r"moves 0 images of diving, data\.percent=1 needs 1; use a smaller one"),
    ],
)
def test_a_wrong_file_is_refused(original: Path, change: Callable[[Path], object], message: str) -> None:
    load(original)
    change(original / SPLIT)
    with pytest.raises(UserError, match=rf"{SPLIT}.*{message}") as error:
        load(original)
    assert "\n" not in str(error.value)


def test_percentages_are_not_published_for_the_original_layout(original: Path) -> None:
    with pytest.raises(UserError, match=r"data\.percent=1 is not published for .*; use data\.protocol=holdout, or"):
        load(original, protocol="published")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train/racing_7.jpg", "train/running_7.jpg", "running_7.jpg: the name must be ACTION_NUMBER, ACTION one of"),
        ("train/racing_7.jpg", "train/racing.jpg", "racing.jpg: the name must be ACTION_NUMBER"),
        ("test/racing_47.jpg", "test/racing_x.jpg", "racing_x.jpg: the name must be ACTION_NUMBER"),
        ("test/racing_47.jpg", "test/racing_47.txt", "racing_47.txt is not an image"),
        ("test/racing_47.jpg", "test/racing/racing_47.jpg", "test/racing is not an image"),
        ("test", "tests", "BAR/test is not there; type `python main.py inspect with bar data.root="),
        (".", "../other", "BAR/train is not there; type `python main.py inspect with bar data.root="),
    ],
)
def test_bad_files_are_named(original: Path, old: str, new: str, message: str) -> None:
    folder = original / "BAR"
    (folder / new).parent.mkdir(exist_ok=True)
    (folder / old).resolve().rename(folder / new)
    with pytest.raises(UserError, match=message):
        load(original)


def test_an_action_without_images(original: Path) -> None:
    for path in (original / "BAR" / "test").glob("fishing_*"):
        path.unlink()
    with pytest.raises(UserError, match="BAR/test: no image of fishing; complete the download"):
        load(original)


def test_too_few_test_images(original: Path) -> None:
    for number in range(43, 50):
        (original / "BAR" / "test" / f"fishing_{number}.jpg").unlink()
    with pytest.raises(UserError, match="BAR: 3 test images of fishing, at least 4 needed to split them"):
        load(original)
    assert len(load(original, percent=0, protocol="published").test) == 6 * NUM_TEST - 7


# ---- BiasEnsemble's layout


@pytest.mark.parametrize(("percent", "size"), [(1, 1), (5, 2)])
@pytest.mark.parametrize("protocol", ["holdout", "published"])
def test_bias_ensemble(bias_ensemble: Path, percent: float, size: int, protocol: str) -> None:
    data = load(bias_ensemble, percent=percent, protocol=protocol)
    assert data.valid is not None
    assert Counter(zip(data.train.target.tolist(), data.train.bias.tolist(), strict=True)) == {
        **{(c, c): 9 for c in range(6)},
        **{(c, (c + 1) % 6): size for c in range(6)},
    }
    assert (len(data.valid), len(data.test)) == (18, 24)
    assert not data.valid.has_bias
    assert data.test.bias.equal((data.test.target + 1) % 6)
    assert not (bias_ensemble / SPLIT).exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train/align/2/0_2_0.jpg", "train/align/2/0_3_0.jpg", "target 3 in its name, but in the folder of class 2"),
        ("train/align/2/0_2_0.jpg", "train/align/2/0_6_0.jpg", "target 6 in its name, must be 0 to 5"),
        ("train/align/2/0_2_0.jpg", "train/align/2/climbing_0.jpg", "the name must end in _TARGET_BIAS"),
        ("valid/2/0_2_2.jpg", "valid/2/0_3_2.jpg", "target 3 in its name, but in the folder of class 2"),
        ("train/conflict/1pct", "train/conflict/2pct", "train/conflict/1pct is not there; type `python main.py"),
        ("train/conflict/1pct/3", "3", r"1pct: no bias-conflicting image of target class 3 \(of 6\)"),
        ("valid", "validation", "bar/valid is not there; type `python main.py inspect with bar data.root="),
        ("test/4", "4", r"bar/test: no image of target class 4 \(of 6\)"),
    ],
)
def test_bad_files_of_bias_ensemble(bias_ensemble: Path, old: str, new: str, message: str) -> None:
    (bias_ensemble / "bar" / old).rename(bias_ensemble / "bar" / new)
    with pytest.raises(UserError, match=message):
        load(bias_ensemble)


def test_folders_named_by_the_action(bias_ensemble: Path) -> None:
    expected = load(bias_ensemble)
    for part in ("train/align", "train/conflict/1pct", "valid", "test"):
        for target, action in enumerate(ACTIONS):
            (bias_ensemble / "bar" / part / str(target)).rename(bias_ensemble / "bar" / part / f"{target} {action}")
    assert load(bias_ensemble).fingerprint == expected.fingerprint


def test_the_published_split_needs_the_original_layout(bias_ensemble: Path) -> None:
    with pytest.raises(UserError, match=r"data\.percent=0 is LfF's split, and .*; use data\.percent=1 or 5, or get"):
        load(bias_ensemble, percent=0)


def test_both_layouts_at_once(original: Path, bias_ensemble: Path) -> None:
    assert original == bias_ensemble
    with pytest.raises(UserError, match=r"BAR and .*bar both exist; keep one of them in data\.root="):
        load(original)


# ---- both


def test_lower_case_folder_and_nothing_at_all(original: Path) -> None:
    expected = load(original)
    (original / "BAR").rename(original / "bar")
    assert load(original).fingerprint == expected.fingerprint
    shutil.rmtree(original / "bar")
    with pytest.raises(UserError, match=r"BAR/train is not there; type `python main\.py inspect"):
        load(original)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percent": 3}, "data.percent=3.0: must be one of 0, 0.5, 1, 2, 5"),
        ({"image_size": -1}, "data.image_size=-1: must be 1 to 4096"),
        ({"protocol": "own"}, "data.protocol='own': must be holdout, iid, published"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        dataset_config({"name": "bar", **settings})


def test_sources(tmp_path: Path) -> None:
    config = dataset_config({"name": "bar", "root": str(tmp_path)})
    assert [source.path for source in config.sources()] == [tmp_path / "BAR/train", tmp_path / "BAR/test"]
    assert not any(source.is_there for source in config.sources())


def test_sources_of_bias_ensemble(bias_ensemble: Path) -> None:
    sources = dataset_config({"name": "bar", "root": str(bias_ensemble), "percent": 5}).sources()
    assert all(source.is_there for source in sources)
    folders = ["train/align", "train/conflict/5pct", "valid", "test"]
    assert [source.path for source in sources] == [bias_ensemble / "bar" / folder for folder in folders]


def test_whether_bias_labels_can_choose_weights(bias_ensemble: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    told = dataset_config({"name": "bar", "root": str(folder)}).selection_images()
    assert (
        told == dataset_config({"name": "bar", "root": str(bias_ensemble)}).selection_images()
    )  # whatever is on the disk
    assert (told.knows_bias, told.has_valid) == (None, True)
    data = load(bias_ensemble)
    assert (
        data.selection_images("holdout").knows_bias is False
    )  # BiasEnsemble's folders do not tell it of validation images
    assert data.selection_images("published").knows_bias is True


def test_bar_itself(tmp_path: Path) -> None:
    folder = Path(os.environ.get("DEBIAS_DATA", "data"))
    if not (folder / "BAR" / "train" / "climbing_0.jpg").is_file():
        pytest.skip("no BAR in the folder that DEBIAS_DATA names")
    data = load(folder, percent=5, cache=str(tmp_path))
    assert data.valid is not None
    assert (len(data.train), len(data.valid), len(data.test)) == (1941 + 103, 94, 457)
    assert data.notes == ()
    published = load(folder, percent=0, protocol="published", cache=str(tmp_path))
    assert torch.bincount(published.train.target).tolist() == [326, 520, 163, 336, 317, 279]
    assert torch.bincount(published.test.target).tolist() == [105, 159, 42, 132, 85, 131]
    assert not set(pixels(data.test)) & set(pixels(data.train))
