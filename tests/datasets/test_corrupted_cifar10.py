"""Corrupted CIFAR-10, built from small folders of real images."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from debiaslab.config import NAMED_CONFIGS
from debiaslab.core.errors import UserError
from debiaslab.core.randomness import derived_seed
from debiaslab.datasets import BiasedDataset, DatasetConfig, corrupted_cifar10, dataset_config
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.datasets.base import CIFAR10_STATISTICS
from debiaslab.datasets.bias import assign_bias
from debiaslab.datasets.cifar10_images import CLASSES
from debiaslab.datasets.corrupted_cifar10 import TYPES, CorruptedCIFAR10, build_corrupted_images
from debiaslab.datasets.corruptions import CORRUPTIONS, corrupt, weather
from tests.datasets.cifar10_files import pictures, write_images

NUM_TRAIN, NUM_TEST = 120, 40  # images
NO_FROST = ["snow", "fog", *TYPES["type0"][3:], "original"]  # needs no pictures of another package


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_images(tmp_path / "cifar10", NUM_TRAIN // 10, NUM_TEST // 10)
    monkeypatch.setattr(corrupted_cifar10, "NUM_VALID", 30)
    return tmp_path


def config(root: Path, **changes: Any) -> DatasetConfig:
    values = {"name": "corrupted_cifar10", "root": str(root), "corruptions": "type1", "skew": 0.5, **changes}
    return dataset_config(values)


def load(root: Path, **changes: Any) -> BiasedDataset:
    return config(root, **changes).load()


def test_protocols(root: Path) -> None:
    holdout, published = load(root), load(root, protocol="published")
    assert (len(holdout.train), len(published.train)) == (90, 120)
    assert published.valid is None
    assert holdout.valid is not None
    assert holdout.valid.target.bincount().tolist() == [3] * 10
    assert holdout.test.all_images().equal(published.test.all_images())
    assert holdout.fingerprint != published.fingerprint
    assert (holdout.normalize, holdout.augment) == (CIFAR10_STATISTICS, CropAndFlip(padding=4))
    assert (holdout.num_classes, holdout.num_biases) == (10, 10)
    for split, ratio in ((holdout.train, 0.5), (holdout.valid, 0.1), (holdout.test, 0.1)):
        assert numpy.array_equal(split.bias, assign_bias(split.target.numpy(), ratio, num_classes=10))


@pytest.mark.parametrize("kind", ["type1", NO_FROST])
def test_every_image_gets_the_corruption_of_its_bias(kind: Any, root: Path) -> None:
    data = load(root, corruptions=kind, severity=2, seed=5)
    names = TYPES.get(kind, ()) if isinstance(kind, str) else kind
    originals = dict(zip(("train", "test"), numpy.split(pictures(160), [NUM_TRAIN]), strict=True))
    for part, images in originals.items():
        split = data.train if part == "train" else data.test
        per_class = len(images) // 10
        for position in range(0, len(split), 7):
            original = images[position % 10 * per_class + position // 10]
            assert int(split.target[position]) == position % 10
            name = names[int(split.bias[position])]
            seed = derived_seed(5, "corruption", name, f"{part}/{position}")
            expected = corrupt(original[None], name, 3, [seed])[0]  # severity 2 of the data is 3 of the protocol
            assert numpy.array_equal(split.all_images()[position].numpy(), expected)


def test_the_same_bytes_for_any_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    images, target = pictures(160), numpy.arange(160) % 10

    def build(workers: int) -> list[bytes]:
        tensors = build_corrupted_images(
            (images[:120], target[:120]),
            (images[120:], target[120:]),
            num_valid=20,
            skew=0.3,
            severity=4,
            corruptions=NO_FROST,
            seed=1,
            workers=workers,
        )
        return [tensor.numpy().tobytes() for tensor in tensors.values()]

    alone = build(1)
    assert len(alone) == 9
    assert build(4) == alone
    monkeypatch.setattr(corrupted_cifar10, "CHUNK", 3)
    assert build(2) == alone


def test_an_image_is_the_same_in_every_variant(root: Path) -> None:
    """Skew and protocol decide who gets which corruption, and nothing else."""
    one, other = load(root, skew=0.2), load(root, skew=0.6, protocol="published")
    same = (one.train.bias == other.train.bias[:90]).nonzero()[:, 0]
    assert 0 < len(same) < 90
    assert one.train.all_images()[same].equal(other.train.all_images()[same])
    assert not load(root, skew=0.2, seed=1).train.all_images().equal(one.train.all_images())


def test_fingerprints(root: Path) -> None:
    first = load(root)
    assert load(root, corruptions=list(TYPES["type1"]), cache=str(root / "other")).fingerprint == first.fingerprint
    changes = ({"seed": 1}, {"skew": 0.4}, {"severity": 3}, {"corruptions": NO_FROST}, {"reverse": True})
    prints = {load(root, **change).fingerprint for change in changes}
    assert len({first.fingerprint, *prints}) == 6


def test_reverse_swaps_target_and_bias(root: Path) -> None:
    plain, swapped = load(root), load(root, reverse=True)
    assert swapped.train.target.equal(plain.train.bias)
    assert swapped.train.bias.equal(plain.train.target)
    assert swapped.class_names == plain.bias_names == TYPES["type1"]
    assert swapped.bias_names == plain.class_names == CLASSES


def test_built_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(root)
    monkeypatch.setattr(corrupted_cifar10, "build_corrupted_images", None)
    assert load(root).train.all_images().equal(first.train.all_images())


def test_missing_pictures_of_frost_are_noticed_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weather.frost_textures.cache_clear()
    for module in (weather, corrupted_cifar10):
        monkeypatch.setattr(module, "textures_folder", lambda: root / "nothing")
    with pytest.raises(UserError, match="frost needs the textures of the package imagecorruptions"):
        load(root, corruptions="type0")
    assert not (root / "cache").exists()
    assert [source.is_there for source in config(root, corruptions="type0").sources()] == [True, True, False]
    load(root, corruptions=NO_FROST)


def test_processes_begin_with_what_the_corruptions_load(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[list[str]] = []
    monkeypatch.setattr(corrupted_cifar10, "load_all", lambda names: loaded.append(list(names)))
    monkeypatch.setattr(corrupted_cifar10, "map_in_processes", lambda work, jobs, workers: map(work, jobs))
    train, test = ((pictures(20), numpy.arange(20) % 10) for _ in range(2))
    build_corrupted_images(train, test, num_valid=0, skew=0.3, severity=4, corruptions=NO_FROST, seed=1)
    assert loaded == [NO_FROST]


def test_too_few_images_to_validate(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrupted_cifar10, "NUM_VALID", 120)
    with pytest.raises(UserError, match="120 training images of CIFAR-10 are too few to keep 120 for validation"):
        load(root)


def test_array_folder(tmp_path: Path) -> None:
    for part, size in (("train", 100), ("valid", 40)):
        target = numpy.arange(size) % 10
        (tmp_path / part).mkdir()
        numpy.save(tmp_path / part / "images.npy", pictures(size).transpose(0, 2, 3, 1))
        attrs = numpy.stack([target, assign_bias(target, 0.5, num_classes=10)], axis=1)
        numpy.save(tmp_path / part / "attrs.npy", attrs.astype(numpy.uint8))
    left_out = {"skew": None, "severity": None, "corruptions": None}
    data = load(tmp_path, arrays=str(tmp_path), protocol="published", **left_out)
    assert numpy.array_equal(data.test.all_images(), pictures(40))
    assert (data.normalize, data.augment) == (CIFAR10_STATISTICS, CropAndFlip(padding=4))
    sources = config(tmp_path, arrays=str(tmp_path), **left_out).sources()
    assert len(sources) == 4
    assert all(source.is_there for source in sources)
    with pytest.raises(UserError, match=r"data\.corruptions='type1': must be left out with data\.arrays"):
        load(tmp_path, arrays=str(tmp_path), skew=None, severity=None)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("skew", 1.0, "data.skew=1.0: must be between 0 and 1"),
        ("severity", 5, "data.severity=5: must be 0 to 4"),
        ("severity", None, "data.severity=None: must be set, or data.arrays"),
        ("protocol", "leaky", "data.protocol='leaky': must be holdout, iid, published"),
        (
            "corruptions",
            "type2",
            "data.corruptions='type2': must be type0, type1, or a list of 10 different corruptions",
        ),
        ("corruptions", ["snow"] * 10, "data.corruptions=('snow', "),
        ("corruptions", ["snow", "fog"], "data.corruptions=('snow', 'fog'): must be type0, type1, or a list of 10"),
        ("corruptions", [*NO_FROST[:9], "smow"], "unknown corruption 'smow'; did you mean 'snow'?"),
        ("rho", 0.9, "data.rho is not a setting of corrupted_cifar10; its settings: "),
    ],
)
def test_settings_are_checked(setting: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        dataset_config({"name": "corrupted_cifar10", setting: value})
    assert str(error.value).startswith(message)


def test_types_name_every_corruption_once() -> None:
    names = [name for kind in TYPES.values() for name in kind]
    assert sorted(names) == sorted(CORRUPTIONS)


def test_named_configurations() -> None:
    words = ("corrupted_cifar10", "type1", "severity1", "skewed1")
    chosen = {name: value for word in words for name, value in NAMED_CONFIGS[word][1]["data"].items()}
    settings = dataset_config(chosen)
    assert isinstance(settings, CorruptedCIFAR10)
    assert (settings.names(), settings.severity, settings.skew) == (TYPES["type1"], 1, 0.05)
    assert NAMED_CONFIGS["type0"][1] == {"data": {"corruptions": "type0"}}
