"""Spawrious' layout, with scikit-learn's digits as dogs."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, Split, spawrious
from debiaslab.datasets.spawrious import CHALLENGES, Spawrious
from debiaslab.settings.declared import variant_of
from tests.conftest import Command
from tests.datasets.image_folders import write_images
from tests.datasets.loading import loaded

PLACES, BREEDS = Spawrious.BIASES, Spawrious.CLASSES
TOTAL, OWN = 10, (9, 7)  # as in the data set, with 3,168 images, 97 and 87 %


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spawrious")
    folders = [root / "spawrious224" / e / place / breed for e in "01" for place in PLACES for breed in BREEDS]
    write_images([folder / f"{number}.png" for folder in folders for number in range(TOTAL)])
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawrious, "TOTAL", TOTAL)
    monkeypatch.setattr(spawrious, "OWN", OWN)


def load(root: Path, challenge: str, **settings: object) -> BiasedDataset:
    return loaded({"name": "spawrious", "root": str(root), "image_size": 14, "challenge": challenge, **settings})


def found(*splits: Split | None) -> Counter[tuple[str, str]]:
    """The number of images of each breed in each place."""
    return Counter(
        (BREEDS[target], PLACES[bias])
        for split in splits
        if split is not None
        for target, bias in zip(split.target.tolist(), split.bias.tolist(), strict=True)
    )


def test_one_to_one(images: Path) -> None:
    data = load(images, "o2o_easy")
    own = {"bulldog": "desert", "dachshund": "jungle", "labrador": "dirt", "corgi": "snow"}
    expected = {(breed, place): sum(OWN) for breed, place in own.items()}
    expected |= {(breed, "beach"): 2 * TOTAL - sum(OWN) for breed in own}
    assert found(data.train, data.valid) == expected
    tested = {"bulldog": "dirt", "dachshund": "snow", "labrador": "desert", "corgi": "jungle"}
    assert found(data.test) == dict.fromkeys(tested.items(), 2 * TOTAL)
    assert data.valid is not None
    assert (len(data.train), len(data.valid)) == (64, 16)
    usual = {(BREEDS[row], PLACES[column]) for row, column in data.aligned_groups().nonzero().tolist()}
    assert usual == set(own.items())


def test_many_to_many(images: Path) -> None:
    data = load(images, "m2m_medium")
    pairs = dict.fromkeys(("bulldog", "dachshund"), "beach snow")
    pairs |= dict.fromkeys(("labrador", "corgi"), "mountain desert")
    assert found(data.train, data.valid) == {
        (breed, place): TOTAL for breed, places in pairs.items() for place in places.split()
    }
    other = {"bulldog": "labrador", "dachshund": "corgi", "labrador": "bulldog", "corgi": "dachshund"}
    assert found(data.test) == {(breed, place): TOTAL for breed in pairs for place in pairs[other[breed]].split()}
    assert bool(data.aligned_samples(data.train).all())


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_all_test_images_conflict(images: Path, challenge: str) -> None:
    data = load(images, challenge)
    assert not bool(data.aligned_samples(data.test).any())
    assert len({load(images, challenge, protocol=p).fingerprint for p in ("holdout", "iid", "published")}) == 1
    assert variant_of({"name": "spawrious", "challenge": challenge}) == f"challenge {challenge}"


def test_mistakes_are_one_line(images: Path, tmp_path: Path, command: Command) -> None:
    outcome = command("inspect", "with", "spawrious", "data.challenge=o2o_heard", data=False)
    assert outcome.code == 2
    assert outcome.err.startswith(
        "error: unknown challenge 'data.challenge=o2o_heard'; did you mean 'o2o_hard'? one of"
    )
    with pytest.raises(UserError, match=r"spawrious needs .*spawrious224, which is missing"):
        load(tmp_path / "elsewhere", "o2o_easy")
    shutil.copytree(images / "spawrious224", tmp_path / "spawrious224")
    shutil.rmtree(tmp_path / "spawrious224" / "1" / "dirt")
    with pytest.raises(UserError, match=r"cannot read .*/1/dirt/\w+: No such file or directory"):
        load(tmp_path, "o2o_easy")
