"""Kinetics and Mimetics in their layouts, of small videos: each class has a colour."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, dataset_config, videos
from debiaslab.datasets.augmentation import JitteredCropAndFlip
from debiaslab.datasets.clips import ClipReader
from debiaslab.datasets.kinetics import MIMETICS, Kinetics10, Kinetics50
from debiaslab.methods import Batch, Method, Phase
from debiaslab.methods.optimizers import build_optimizer
from debiaslab.methods.phase import descend
from debiaslab.training.batches import Batches
from debiaslab.training.loop import Options, Trainer
from tests.datasets.encoding import Picture, encode
from tests.datasets.loading import loaded, rows_of
from tests.training.test_normalization import Silent

SMALL = {"image_size": 16, "frames": 4, "stride": 2}
NUM_TRAIN = 5  # videos of each class
CPU = torch.device("cpu")


def colored(label: int) -> Callable[[int], Picture]:
    color = numpy.array([25 * label, 250 - 25 * label, 128 + 100 * (label % 2)], dtype=numpy.uint8)
    return lambda number: numpy.broadcast_to(color, (24, 32, 3)).copy()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of Kinetics-10, with annotation files; do not change it."""
    root = tmp_path_factory.mktemp("whole")
    rows: dict[str, list[str]] = {"train": [], "val": [], "mimetics": []}
    for label, name in enumerate(Kinetics10.CLASSES):
        video = encode(root / "video.mp4", 12, picture=colored(label))
        plain = name.replace("_", " ")
        parts = {
            "train": (root / "kinetics" / "train" / plain, NUM_TRAIN),
            "val": (root / "kinetics" / "val" / name, 2),
            "mimetics": (root / "mimetics" / plain, 1),
        }
        for part, (folder, count) in parts.items():
            folder.mkdir(parents=True)
            for number in range(count):
                youtube_id = f"{part}-{label}-{number}"
                path = folder / f"{youtube_id}_{number:06}_{number + 10:06}.mp4"
                path.write_bytes(video.read_bytes() + b"free" + bytes([label, number]))  # no two files are alike
                subset = "test" if part == "mimetics" else part
                rows[part].append(f"{plain},{youtube_id},{number},{number + 10},{subset}")
    for name, lines in rows.items():
        path = root / ("mimetics/mimetics_v1.0.csv" if name == "mimetics" else f"kinetics/{name}.csv")
        path.write_text("\n".join(["label,youtube_id,time_start,time_end,split", *lines]) + "\n")
    load(root)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, with what is kept of the videos."""
    return Path(shutil.copytree(whole, tmp_path / "data"))


def load(root: Path, **settings: Any) -> BiasedDataset:
    return loaded({"name": "kinetics10", "root": str(root), **SMALL, **settings})


def reader_of(data: BiasedDataset, split: str) -> ClipReader:
    reader = data.splits()[split].reader
    assert isinstance(reader, ClipReader)
    return reader


def files(data: BiasedDataset, split: str) -> list[Path]:
    part = data.splits()[split]
    return [reader_of(data, split).videos[row].path for row in rows_of(part)]


def test_the_classes() -> None:
    assert len(MIMETICS) == len(set(MIMETICS)) == 50
    assert list(MIMETICS) == sorted(MIMETICS)
    assert Kinetics50.CLASSES == MIMETICS
    assert Kinetics10.CLASSES == (
        "canoeing_or_kayaking",
        "climbing_a_rope",
        "driving_car",
        "golf_driving",
        "opening_bottle",
        "playing_piano",
        "playing_volleyball",
        "shooting_goal_(soccer)",
        "surfing_water",
        "writing",
    )


def test_the_splits(whole: Path) -> None:
    data = load(whole)
    assert {name: len(split) for name, split in data.splits().items()} == {
        "train": 10 * (NUM_TRAIN - 1),
        "valid": 10,
        "test": 10,
        "kinetics": 20,
    }
    for name, split in data.splits().items():
        assert not split.has_bias
        folder = {"test": "mimetics", "kinetics": "val"}.get(name, "train")
        for path, target in zip(files(data, name), split.target.tolist(), strict=True):
            assert path.parent.name.replace(" ", "_") == Kinetics10.CLASSES[target]
            assert path.parent.parent.name == folder
    assert (data.name, data.num_classes, data.normalize) == ("kinetics10", 10, ((0.45,) * 3, (0.225,) * 3))
    assert data.notes == (
        "kinetics10 train: 50 training videos of Kinetics, 0 missing, 0 broken",
        "kinetics10 test: 10 videos of Mimetics, unbiased, 0 missing, 0 broken",
        "kinetics10 kinetics: 20 validation videos of Kinetics, biased, 0 missing, 0 broken",
    )


def test_what_the_networks_see(whole: Path) -> None:
    data = load(whole)
    for split in data.evaluation_splits().values():
        assert (split.image_shape, split.views) == ((3, 4, 16, 16), 10)
    assert data.train.views == 1
    assert not reader_of(data, "train").center
    assert all(reader_of(data, name).center for name in data.evaluation_splits())
    augment = data.augment
    assert isinstance(augment, JitteredCropAndFlip)
    assert (augment.crop, augment.shortest, augment.longest) == (14, 16, 20)
    assert augment.sizes.tolist() == [[24, 32]] * 40
    full = dataset_config({"name": "kinetics10", "root": str(whole)}).load()
    assert full.test.image_shape == (3, 8, 256, 256)
    assert isinstance(full.augment, JitteredCropAndFlip)
    assert (full.augment.crop, full.augment.shortest, full.augment.longest) == (224, 256, 320)


def test_protocols(whole: Path) -> None:
    published = load(whole, protocol="published")
    assert published.valid is None
    everything = set(files(published, "train"))
    assert len(everything) == len(published.train) == 50
    held_out = load(whole)
    train, valid = set(files(held_out, "train")), set(files(held_out, "valid"))
    assert train | valid == everything
    assert not train & valid
    assert held_out.valid is not None
    assert held_out.valid.target.bincount().tolist() == [1] * 10
    assert set(files(load(whole), "valid")) == valid
    assert set(files(load(whole, seed=1), "valid")) != valid
    assert len({data.fingerprint for data in (published, held_out, load(whole, seed=1))}) == 3


def test_videos_are_checked_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(root)
    monkeypatch.setattr(videos, "_probe", None)  # calling it would fail
    after = load(root)
    assert after.fingerprint == before.fingerprint
    assert load(root, image_size=24).fingerprint != before.fingerprint


def test_what_is_left_out_is_counted_and_listed(root: Path) -> None:
    before = load(root)
    folder = root / "kinetics" / "train" / "driving car"
    gone, cut, extra = (folder / f"train-2-{number}_00000{number}_00001{number}.mp4" for number in (0, 1, 2))
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:200])
    extra.rename(folder / "other.mp4")
    data = load(root, protocol="published")
    assert len(data.train) == 47
    *_, last = data.notes
    assert data.notes[0] == "kinetics10 train: 47 training videos of Kinetics, 2 missing, 1 broken, 1 not listed"
    assert last.startswith("kinetics10: the 4 videos left out are listed in ")
    assert set(Path(last.split(" in ")[1]).read_text().splitlines()) == {
        f"missing: {root}/kinetics/train/driving_car/{gone.stem}",
        f"missing: {root}/kinetics/train/driving_car/{extra.stem}",
        f"damaged, or not a video: {cut}",
        f"not listed: {folder}/other.mp4",
    }
    assert data.fingerprint != before.fingerprint
    (root / "kinetics" / "train.csv").unlink()
    assert "48 training videos of Kinetics, no list of the expected videos, 1 broken" in load(root).notes[0]


def test_the_layout_of_the_authors(root: Path) -> None:
    """The videos of Mimetics in the folder `data`, the lists in one folder."""
    moved = root / "mimetics" / "data"
    moved.mkdir()
    for folder in [path for path in (root / "mimetics").iterdir() if path.is_dir() and path != moved]:
        folder.rename(moved / folder.name)
    (root / "kinetics" / "annotations").mkdir()
    (root / "kinetics" / "val.csv").rename(root / "kinetics" / "annotations" / "validate.csv")
    data = load(root)
    assert (len(data.test), len(data.extra["kinetics"])) == (10, 20)
    assert all("0 missing" in note for note in data.notes)


@pytest.mark.parametrize("folder", ["kinetics/train", "kinetics/val", "mimetics"])
def test_a_missing_folder(root: Path, folder: str) -> None:
    shutil.rmtree(root / folder)
    with pytest.raises(
        UserError,
        match=rf"{folder} is not there; type `python main.py inspect with kinetics10 data.root={root}",
    ):
        load(root)


def test_sources(root: Path, tmp_path: Path) -> None:
    assert all(source.is_there for source in Kinetics10(root=str(root)).sources())
    nowhere = Kinetics50(root=str(tmp_path / "nowhere")).sources()
    assert not any(source.is_there for source in nowhere)
    for path in ("kinetics/train", "kinetics/val", "mimetics", "kinetics/train.csv", "mimetics/mimetics_v1.0.csv"):
        assert tmp_path / "nowhere" / path in [source.path for source in nowhere]


def test_a_class_without_videos(root: Path) -> None:
    shutil.rmtree(root / "kinetics" / "val" / "surfing_water")
    with pytest.raises(UserError, match=r"no video of the class surfing_water that .*val\.csv lists in .*kinetics/val"):
        load(root)


def test_a_class_of_broken_videos(root: Path) -> None:
    for path in (root / "mimetics" / "writing").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no video of the class writing in .*/mimetics is intact \(mime.*: damaged"):
        load(root)


def test_a_class_of_one_video(root: Path) -> None:
    for path in sorted((root / "kinetics" / "train" / "writing").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match=r"train/writing: one video, too few .* data\.protocol=published"):
        load(root)
    assert len(load(root, protocol="published").train) == 46


@pytest.mark.parametrize(
    ("setting", "value"), [("image_size", 7), ("frames", 0), ("stride", 0), ("protocol", "leave one out")]
)
def test_settings_are_checked(setting: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"data.{setting}={value!r}: must be"):
        load(Path("nowhere"), **{setting: value})


class Tiny(Method):
    """A classifier of clips: one convolution over time and space, and the means."""

    def __init__(self, num_classes: int) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(0)
        self.network = nn.Sequential(
            nn.Conv3d(3, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(32, num_classes)
        )
        self.optimizer = build_optimizer("adam", [self.network], 0.05, 0.0)

    def phases(self) -> list[Phase]:
        return [
            Phase(
                name="train",
                update=self.update,
                logits=lambda image: {"tiny": self.network(image)},
                training=[self.network],
                optimizers={"tiny": self.optimizer},
                batch_size=10,
                epochs=6,
                num_steps=None,
                drop_last=True,
            )
        ]

    def update(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.image.shape == (10, 3, 4, 14, 14)
        loss = nn.functional.cross_entropy(self.network(batch.image), batch.target)
        descend(loss, self.optimizer)
        return {"tiny": loss.detach()}


def test_training_and_evaluation(whole: Path) -> None:
    """The colours of the classes are learnt, and the number of threads that read does not change the weights."""
    weights = []
    for workers in (0, 3):
        data = load(whole).to(CPU, 1e9)
        method = Tiny(data.num_classes)
        options = Options(seed=1, selection="best_valid_accuracy", workers=workers, evaluate_every=6)
        history = Trainer(method, data, options, Silent()).fit().history
        weights.append(torch.cat([value.flatten() for value in method.state_dict().values()]))
        for split in ("valid", "test", "kinetics"):
            metrics = history.counts(history.evaluations[-1], split).metrics()
            assert metrics["accuracy"] > 0.8
            assert numpy.isnan(metrics["unbiased"])
    assert weights[0].equal(weights[1])


def test_a_video_that_breaks_in_training_is_named(root: Path) -> None:
    data = load(root).to(CPU, 0)
    path = files(data, "train")[7]
    path.write_bytes(b"")
    batches = Batches(data, Tiny(10).phases()[0], 1, with_bias=False, workers=2)
    with pytest.raises(UserError, match=rf"{path.name} can no longer be read"):
        list(batches.in_order())
