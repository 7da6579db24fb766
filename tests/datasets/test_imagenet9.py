import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.datasets import BiasedDataset, dataset_config, selection_images_from_settings
from debiaslab.datasets.augmentation import RandomResizedCropAndFlip
from debiaslab.datasets.imagenet9 import BENCHMARK, CLASS_OF, CLASSES, IMAGENET_A, SYNSETS
from debiaslab.datasets.pixels import MappedImages
from debiaslab.evaluation.counting import count_groups
from debiaslab.methods import Recipe
from debiaslab.methods.erm import ERM
from tests.conftest import Command
from tests.datasets.imagenet_folders import NUM_TEST, NUM_TRAIN, OTHER_SYNSET, make_folders, make_vgg16
from tests.datasets.loading import loaded, rows_of
from tests.methods.building import short_setup, trained

SIZE = 32  # pixels


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imagenet9")
    make_folders(root)
    make_vgg16(root / "vgg16.pth")
    return root


def load(root: Path, **settings: Any) -> BiasedDataset:
    small = {"name": "imagenet9", "root": str(root), "image_size": SIZE, "vgg16": str(root / "vgg16.pth")}
    return loaded(small | settings)


@pytest.fixture(scope="module")
def data(root: Path) -> BiasedDataset:
    """All of it, with validation images."""
    return load(root, imagenet_a="imagenet-a", imagenet_c="imagenet-c")


def reader(data: BiasedDataset, split: str) -> MappedImages:
    found = data.splits()[split].reader
    assert isinstance(found, MappedImages)
    return found


def test_the_classes() -> None:
    assert CLASSES == ("dog", "cat", "frog", "turtle", "bird", "monkey", "fish", "crab", "insect")
    assert len(CLASS_OF) == 42
    assert Counter(CLASS_OF.values()) == Counter({0: 5, 1: 5, 2: 3, 3: 5, 4: 5, 5: 5, 6: 5, 7: 4, 8: 5})
    assert all(CLASSES[CLASS_OF[synset]] == name for name, synsets in SYNSETS.items() for synset in synsets)
    assert len(set(IMAGENET_A)) == 21
    assert Counter(CLASS_OF[synset] for synset in IMAGENET_A) == Counter(
        {0: 5, 1: 1, 2: 1, 3: 1, 4: 5, 5: 2, 6: 1, 8: 5}
    )


def test_splits(data: BiasedDataset) -> None:
    sizes = {name: len(split) for name, split in data.splits().items()}
    assert sizes == {
        "train": 42 * (NUM_TRAIN - 1),
        "valid": 42,
        "test": 42 * NUM_TEST,
        "imagenet_a": 21,
        "imagenet_c_fog": 42 * 5,
        "imagenet_c_saturate": 42 * 5,
    }
    assert data.train.image_shape == (3, 37, 37)
    assert all(split.image_shape == (3, SIZE, SIZE) for split in data.evaluation_splits().values())
    assert {name for name, split in data.splits().items() if split.has_bias} == {"valid", "test"}
    assert data.test.target.bincount().tolist() == [NUM_TEST * len(synsets) for synsets in SYNSETS.values()]
    assert not data.tells_conflicting()
    assert data.means == {"imagenet_c_mean": ("imagenet_c_fog",)}
    assert len(BENCHMARK) == 15


def test_images_and_classes_go_together(root: Path, data: BiasedDataset) -> None:
    transforms = torchvision("transforms")
    center = transforms.Compose([transforms.Resize(37), transforms.CenterCrop(32), transforms.PILToTensor()])
    ready = transforms.PILToTensor()
    for split, folder, transform, pattern in (
        ("test", "imagenet/val", center, "{}/*"),
        ("imagenet_a", "imagenet-a", center, "{}/*"),
        ("imagenet_c_fog", "imagenet-c/fog", ready, "*/{}/*"),  # cropped by its authors
    ):
        expected = {
            (transform(Image.open(path)).numpy().tobytes(), label)
            for synset, label in CLASS_OF.items()
            for path in (root / folder).glob(pattern.format(synset))
        }
        found = data.splits()[split]
        images = found.read(torch.arange(len(found)))
        labels = found.target.tolist()
        pairs = {(image.numpy().tobytes(), label) for image, label in zip(images, labels, strict=True)}
        assert pairs == expected
        assert len(pairs) == len(found)


def test_validation_images_are_kept_out_of_training(root: Path, data: BiasedDataset) -> None:
    assert data.valid is not None
    published = load(root, protocol="published")
    assert published.valid is None
    assert len(published.train) == 42 * NUM_TRAIN
    whole = published.train.read(torch.arange(len(published.train)))
    kept = data.train.read(torch.arange(len(data.train)))
    as_bytes = [image.numpy().tobytes() for image in whole]
    left_out = [row for row, image in enumerate(as_bytes) if image not in {image.numpy().tobytes() for image in kept}]
    assert [row // NUM_TRAIN for row in left_out] == list(range(42))  # one of every synset
    assert published.train.target[torch.tensor(left_out)].tolist() == data.valid.target.tolist()
    assert reader(data, "train").path == reader(published, "train").path  # decoded once for both
    assert published.fingerprint != data.fingerprint


def test_the_data_seed_chooses_the_validation_images(root: Path, data: BiasedDataset) -> None:
    settings: dict[str, Any] = {"imagenet_a": "imagenet-a", "imagenet_c": "imagenet-c"}
    assert load(root, **settings).fingerprint == data.fingerprint
    other = load(root, **settings, seed=1)
    assert other.fingerprint != data.fingerprint
    assert rows_of(other.train) != rows_of(data.train)


def test_crops_are_of_the_original_sizes(root: Path, data: BiasedDataset) -> None:
    assert isinstance(data.augment, RandomResizedCropAndFlip)
    assert data.augment.size == SIZE
    files = sorted((root / "imagenet" / "train").glob("*/*"))
    files = [file for file in files if file.parent.name != OTHER_SYNSET]
    sizes = []
    for row in rows_of(data.train):
        with Image.open(files[row]) as image:
            sizes.append([image.height, image.width])
    assert data.augment.sizes.tolist() == sizes


def test_unbiased_is_the_mean_over_cells_then_over_clusterings(data: BiasedDataset) -> None:
    weights = torch.randn(3 * SIZE * SIZE, 9, generator=torch.Generator().manual_seed(0))

    def logits(image: Tensor) -> dict[str, Tensor]:
        return {"one": image.flatten(1) @ weights}

    metrics = count_groups(logits, data.test, data)["one"].metrics()
    images = data.test.read(torch.arange(len(data.test))) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    right = logits((images - mean) / std)["one"].argmax(dim=1) == data.test.target
    assert metrics["accuracy"] == pytest.approx(float(right.float().mean()))
    means = []
    for place in (81, 9, 1):
        cells: dict[tuple[int, int], list[float]] = {}
        for hit, label, bias in zip(right.tolist(), data.test.target.tolist(), data.test.bias.tolist(), strict=True):
            cells.setdefault((label, bias // place % 9), []).append(float(hit))
        large = [sum(hits) / len(hits) for hits in cells.values() if len(hits) >= 10]
        assert 0 < len(large) < len(cells)
        means.append(sum(large) / len(large))
    assert metrics["unbiased"] == pytest.approx(sum(means) / 3)
    assert all(numpy.isnan(metrics[name]) for name in ("aligned", "conflicting"))


def test_without_clusters_the_accuracy_is_left(root: Path) -> None:
    data = load(root, clusters="none", vgg16="missing.pth")
    assert not data.test.has_bias
    metrics = count_groups(lambda image: {"one": torch.eye(9)[0].expand(len(image), -1)}, data.test, data)["one"]
    assert metrics.metrics()["accuracy"] == 5 / 42
    assert numpy.isnan(metrics.metrics()["unbiased"])


def test_clusters_of_the_authors(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "9class_imagenet_val.csv"
    rows = [
        f"{synset}/ILSVRC2012_val_{number:08}.JPEG,{CLASSES[label]},{number},{label},1"
        for synset, label in CLASS_OF.items()
        for number in range(NUM_TEST)
    ]
    table.write_text("\n".join(["path,category,cluster1,cluster2,cluster3", *rows]))
    data = load(root, clusters=str(table), vgg16=None)
    assert data.test.bias.tolist() == [
        81 * number + 9 * CLASS_OF[synset] + 1 for synset in sorted(CLASS_OF) for number in range(NUM_TEST)
    ]
    assert data.valid is not None
    assert not data.valid.has_bias


def test_corruptions_in_folders_of_categories(root: Path, data: BiasedDataset, tmp_path: Path) -> None:
    (tmp_path / "imagenet-c" / "weather").mkdir(parents=True)
    (tmp_path / "imagenet-c" / "weather" / "fog").symlink_to(root / "imagenet-c" / "fog")
    (tmp_path / "imagenet-c" / "readme").touch()
    nested = load(root, imagenet_c=str(tmp_path / "imagenet-c"), clusters="none")
    assert list(nested.extra) == ["imagenet_c_fog"]
    assert reader(nested, "imagenet_c_fog").identity == reader(data, "imagenet_c_fog").identity


@pytest.mark.parametrize("severity", [1, 4])
def test_a_missing_severity_is_told(severity: int, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "imagenet-c", tmp_path / "imagenet-c", copy_function=os.link)
    shutil.rmtree(tmp_path / "imagenet-c" / "fog" / str(severity))
    data = load(root, imagenet_c=str(tmp_path / "imagenet-c"), clusters="none")
    assert len(data.extra["imagenet_c_fog"]) == 42 * 4
    assert data.notes == (
        f"imagenet_c_fog: without severity {severity}, which has no folder",
        "imagenet_c_mean: imagenet_c_fog without some severities",
    )


# ---- what is missing


def remove(*parts: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root.joinpath(*parts))


def empty(*parts: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        shutil.rmtree(root.joinpath(*parts))
        root.joinpath(*parts).mkdir()

    return change


def keep_one(synset: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for path in sorted((root / "imagenet" / "train" / synset).iterdir())[1:]:
            path.unlink()

    return change


INSPECT = r"; for what to get and where to put it, run `python main\.py inspect with imagenet9` with your data\.root=$"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("imagenet"), "imagenet/val has none of the 42 synset folders that are needed" + INSPECT),
        (remove("imagenet", "train"), "imagenet/train has none of the 42 synset folders that are needed" + INSPECT),
        (remove("imagenet", "val", "n02123394"), "imagenet/val lacks 1 of 42 synsets: n02123394" + INSPECT),
        (empty("imagenet", "train", "n02655020"), "imagenet/train lacks 1 of 42 synsets: n02655020" + INSPECT),
        (remove("imagenet-a", "n01641577"), "imagenet-a lacks 1 of 21 synsets: n01641577" + INSPECT),
        (remove("imagenet-c"), "imagenet-c has no folders <corruption>/<severity>/<synset>" + INSPECT),
        (remove("imagenet-c", "fog", "5", "n01641577"), "imagenet-c/fog/5 lacks 1 of 42 synsets: n01641577" + INSPECT),
        (keep_one("n01641577"), "train/n01641577 has one image, too few to keep any for validation"),
    ],
)
def test_what_is_missing_is_named(change: Callable[[Path], None], message: str, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("cache"), copy_function=os.link)
    change(copy)
    with pytest.raises(UserError, match=message) as error:
        load(copy, imagenet_a="imagenet-a", imagenet_c="imagenet-c", vgg16=str(root / "vgg16.pth"))
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_image_is_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "imagenet", tmp_path / "imagenet", copy_function=os.link)
    broken = tmp_path / "imagenet" / "val" / "n01641577" / "list.txt"
    broken.write_text("a list of images")
    with pytest.raises(UserError, match=r"val/n01641577/list\.txt is not a complete image"):
        load(tmp_path, vgg16=str(root / "vgg16.pth"))
    broken.unlink()
    (broken.parent / ".DS_Store").write_text("hidden files are left out")
    assert len(load(tmp_path, clusters="none").test) == 42 * NUM_TEST


def test_sources(root: Path, tmp_path: Path) -> None:
    config = dataset_config({"name": "imagenet9", "root": str(tmp_path), "imagenet": "/data/ILSVRC2012"})
    train, val, vgg16 = config.sources()
    assert (train.path, val.path) == (Path("/data/ILSVRC2012/train"), Path("/data/ILSVRC2012/val"))
    assert vgg16.path.name == "vgg16-397923af.pth"
    more = {"imagenet_a": "a", "imagenet_c": "c", "clusters": "table.csv"}
    config = dataset_config({"name": "imagenet9", "root": str(tmp_path), **more})
    paths = [tmp_path / "imagenet" / "train", tmp_path / "imagenet" / "val", Path("table.csv")]
    assert [source.path for source in config.sources()] == [*paths, tmp_path / "a", tmp_path / "c"]
    assert not any(source.is_there for source in config.sources())
    config = dataset_config({"name": "imagenet9", "root": str(root), "vgg16": str(root / "vgg16.pth")})
    assert all(source.is_there for source in config.sources())


def test_whether_bias_labels_can_choose_weights() -> None:
    def known(**settings: str) -> bool | None:
        return selection_images_from_settings({"name": "imagenet9", **settings}).knows_bias

    assert known()
    assert not known(clusters="none")
    assert not known(clusters="table.csv")  # the authors' clusters are those of the test images
    assert known(clusters="table.csv", protocol="published")


def test_settings_out_of_range() -> None:
    with pytest.raises(UserError, match=r"data\.image_size=0: must be 1 to 4096"):
        dataset_config({"name": "imagenet9", "image_size": 0})
    with pytest.raises(UserError, match=r"data\.protocol='paper': must be holdout, iid, published"):
        dataset_config({"name": "imagenet9", "protocol": "paper"})


# ---- runs

RECIPE = Recipe(source="a test's", model="mlp", hparams={"batch_size": 32, "epochs": 2})


def test_training_and_evaluation(
    root: Path, data: BiasedDataset, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(ERM.RECIPES, "imagenet9", {"test": RECIPE})
    setup = short_setup("erm", root, dataset="imagenet9", num_steps=5)
    method, outcome = trained(setup, data)
    (last,) = outcome.history.of_phase("train")[-1:]
    assert 0 <= outcome.history.counts(last, "valid").metrics()["accuracy"] <= 1
    facts = {"rule": "last", "epoch": 2, "step": 5}
    setup.save_weights(tmp_path / "weights.safetensors", method.state_dict(), data, facts)

    words = ["imagenet9", "imagenet_a", "imagenet_c", f"data.image_size={SIZE}", "method=erm"]
    names = [f"data.root={root}", f"data.vgg16={root / 'vgg16.pth'}", f"checkpoint={tmp_path / 'weights.safetensors'}"]
    evaluated = command("evaluate", "with", *words, *names, "memory_gb=0", "selection=last", data=False)
    assert evaluated.code == 0, evaluated.err
    result = evaluated.record("run.json")["result"]["last"]
    assert result["imagenet_c_mean/accuracy"] == result["imagenet_c_fog/accuracy"]
    rows = {line.split()[0]: line.split()[1:] for line in evaluated.out.splitlines() if line.strip()}
    assert rows["test"] == ["(%)", "unbiased", "worst", "group", "all", "images"]
    expected = outcome.history.counts(last, "test").metrics()
    names = ["unbiased", "worst_group", "accuracy"]
    assert rows["classifier"] == [f"{100 * expected[name]:.2f}" for name in names]
    for split in ("imagenet_a", "imagenet_c_fog", "imagenet_c_saturate", "imagenet_c_mean"):
        assert rows[split] == ["-", "-", f"{100 * result[f'{split}/accuracy']:.2f}"]


def test_nothing_downloaded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ERM.RECIPES, "imagenet9", {"test": RECIPE})
    outcome = command("with", "imagenet9", "method=erm")
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "imagenet/val has none of the 42 synset folders that are needed; for what to get" in outcome.err
