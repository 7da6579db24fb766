"""Images on file give the same run as images in memory, whatever the number of workers."""

import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from debiaslab.core import memory
from debiaslab.core.prefetching import prefetch
from debiaslab.datasets import BiasedDataset, Split, splits
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Stretched
from debiaslab.datasets.splits import ImagesOnFile
from debiaslab.evaluation.counting import count_groups
from debiaslab.training.batches import Batches
from debiaslab.training.loop import Options, Trainer
from tests.datasets.loading import rows_of
from tests.methods.building import build, short_setup
from tests.training.test_normalization import Silent

CPU = torch.device("cpu")


@pytest.fixture
def on_file(digits: BiasedDataset, tmp_path: Path) -> BiasedDataset:
    """Some of the digits, read from image files."""

    def split(name: str, whole: Split, size: int) -> Split:
        chosen = whole.select(torch.arange(size))
        (tmp_path / name).mkdir()
        files = [tmp_path / name / f"{number:04}.png" for number in range(size)]
        for image, path in zip(chosen.all_images().permute(0, 2, 3, 1).numpy(), files, strict=True):
            Image.fromarray(image).save(path)
        reader = mapped_images(tmp_path / "cache", name, files, Stretched(28))
        assert reader.images.equal(chosen.all_images())
        return replace(chosen, images=ImagesOnFile(reader, torch.arange(size)))

    assert digits.valid is not None
    train, valid = split("train", digits.train, 150), split("valid", digits.valid, 60)
    return replace(digits, train=train, valid=valid, test=split("test", digits.test, 60), augment=CropAndFlip(2))


def test_images_in_memory_and_on_file_train_alike(on_file: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("lff", data_root, num_steps=7, batch_size=32)
    weights = []
    for limit, workers in ((1e9, 0), (0, 0), (0, 3), (1e9, 2)):
        data = on_file.to(CPU, limit)
        assert (data.train.reader is None) == (limit > 0)
        assert data.train.image_shape == (3, 28, 28)
        method = build(setup, data)
        Trainer(method, data, Options(seed=1, selection="last", workers=workers), Silent()).fit()
        weights.append(torch.cat([value.flatten().float() for value in method.state_dict().values()]))
    assert all(weights[0].equal(others) for others in weights[1:])


def test_threads_that_read_take_no_further_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen = list(prefetch(lambda job: (threading.get_ident(), torch.get_num_threads()), range(20), workers=2))
        assert {count for _, count in seen} == {1}
        assert threading.get_ident() not in {thread for thread, _ in seen}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_images_that_go_into_memory_leave_little_that_is_kept(
    on_file: BiasedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: dict[torch.dtype, list[NDArray[Any]]] = defaultdict(list)
    monkeypatch.setattr(memory, "_free", free)
    monkeypatch.setattr(memory, "KEPT", range(1, 2**28))
    monkeypatch.setattr(splits, "READ_AT_ONCE", 40)
    images = on_file.train.all_images()
    assert torch.equal(images, on_file.train.read(torch.arange(150), None))
    del images
    sizes = [len(block) for block in free[torch.uint8]]
    assert sizes.count(40 * 3 * 28 * 28) == len(sizes) - 1  # and the one of the comparison


def test_memory_that_is_used_again_changes_no_number(
    on_file: BiasedDataset, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, filled with something else as soon as it is free."""

    def states() -> list[dict[str, Tensor]]:
        setup = short_setup("lff", data_root, num_steps=7, batch_size=32)
        found = []
        for limit, workers in ((1e9, 0), (0, 2)):
            data = on_file.to(CPU, limit)
            method = build(setup, data)
            Trainer(method, data, Options(seed=1, selection="last", workers=workers), Silent()).fit()
            found.append(method.state_dict())
        return found

    class Poisoned(list[NDArray[Any]]):
        def append(self, block: NDArray[Any]) -> None:
            block.fill(77)
            super().append(block)

    expected = states()
    free: dict[torch.dtype, list[NDArray[Any]]] = defaultdict(Poisoned)
    monkeypatch.setattr(memory, "_free", free)
    monkeypatch.setattr(memory, "KEPT", range(1, 2**28))
    for ours, theirs in zip(states(), expected, strict=True):
        assert [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])] == []
    assert free[torch.float32]
    assert free[torch.uint8]


def test_random_changes_are_a_function_of_seed_epoch_and_image(on_file: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("erm", data_root, num_steps=12, batch_size=32)
    data = on_file.to(CPU, 1e9)
    phase = build(setup, data).phases()[0]

    def images(seed: int, batch_size: int) -> list[dict[int, Tensor]]:
        """For each epoch, the images by position."""
        batches = Batches(data, replace(phase, batch_size=batch_size, drop_last=False, num_steps=10), seed, False)
        epochs: list[dict[int, Tensor]] = [{} for _ in range(20)]
        for batch in batches.from_step(0):
            epochs[batch.step // batches.steps_per_epoch] |= dict(zip(batch.index.tolist(), batch.image, strict=True))
        return epochs

    first, other_size, other_seed = images(1, 50), images(1, 75), images(2, 50)
    assert all(first[0][index].equal(other_size[0][index]) for index in range(150))
    assert sum(first[0][index].equal(first[1][index]) for index in range(150)) < 30  # of 50 changes, two are alike
    assert sum(first[0][index].equal(other_seed[0][index]) for index in range(150)) < 30


def test_the_pass_in_order_sees_plain_images(on_file: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("erm", data_root, num_steps=12, batch_size=32)
    data = on_file.to(CPU, 0)
    batches = Batches(data, build(setup, data).phases()[0], 1, False, workers=2)
    images = torch.cat([batch.image for batch in batches.in_order()])
    assert images.equal(on_file.train.all_images() / 255)


def test_limited_splits(on_file: BiasedDataset) -> None:
    limited = on_file.limit(10)
    assert (len(limited.train), len(limited.test)) == (150, 10)
    assert limited.valid is not None
    assert len(limited.valid) == 10
    row = rows_of(limited.test)[3]
    assert limited.test.target[3] == on_file.test.target[row]
    assert limited.test.read(torch.tensor([3])).equal(on_file.test.read(torch.tensor([row])))


@dataclass(frozen=True)
class Ramp:
    """A reader of videos: brightness `draws` + row / 10; the middle view where there are no draws."""

    image_shape: tuple[int, ...] = (1, 2, 3, 3)
    num_draws: int = 1
    dtype: torch.dtype = torch.uint8

    def __call__(self, rows: Tensor, draws: Tensor | None = None) -> Tensor:
        draws = torch.full((len(rows), 1), 0.5) if draws is None else draws
        return (100 * draws + 10 * rows[:, None]).to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, *self.image_shape)


def test_predictions_are_the_mean_over_views() -> None:
    labels = torch.tensor([0, 1, 1])
    split = Split(ImagesOnFile(Ramp(), torch.arange(3)), labels, labels, views=10)
    data = BiasedDataset("clips", split, None, split, 2, 2, "clips").to(CPU, 0)
    seen: list[Tensor] = []

    def logits(images: Tensor) -> dict[str, Tensor]:
        seen.append(images)
        brightness = images.mean(dim=(1, 2, 3, 4)) * 255
        # confident in the eight brighter views that it is class 1, and in the darkest two that it is class 0
        return {"one": torch.stack([torch.zeros(len(images)), torch.where(brightness < 20, -50.0, 0.5)], dim=1)}

    counts = count_groups(logits, data.test, data, workers=2)["one"]
    assert len(seen) == 1
    first_video = seen[0][:10]
    assert [round(float(view.mean() * 255)) for view in first_video] == list(range(0, 100, 10))
    # (2 * 0 + 8 * 0.62) / 10 for class 1: 0.498; without the second dark view, of samples 1 and 2: 0.56
    assert counts.correct.tolist() == [[1, 0], [0, 2]]


def test_prefetched_keeps_the_order_and_reads_in_threads() -> None:
    threads = set()

    def read(job: int) -> int:
        threads.add(threading.current_thread().name)
        return job * job

    for workers in (0, 1, 4):
        threads.clear()
        assert list(prefetch(read, iter(range(30)), workers)) == [job * job for job in range(30)]
        assert (threading.current_thread().name in threads) == (workers == 0)


def test_prefetched_raises_what_a_reader_raises_and_stops() -> None:
    read: list[int] = []

    def fail(job: int) -> int:
        read.append(job)
        if job == 3:
            raise ValueError("third")
        return job

    results = prefetch(fail, iter(range(1000)), 2)
    with pytest.raises(ValueError, match="third"):
        list(results)
    assert len(read) < 20


def test_normalisation_of_clips() -> None:
    clip = torch.full((2, 3, 4, 5, 5), 51, dtype=torch.uint8)
    labels = torch.zeros(2, dtype=torch.int64)
    split = Split(clip, labels, labels)
    normalize = ((0.0, 0.1, 0.2), (1.0, 0.5, 0.1))
    data = BiasedDataset("clips", split, None, split, 1, 1, "clips", normalize=normalize)
    seen: list[Tensor] = []

    def logits(images: Tensor) -> dict[str, Tensor]:
        seen.append(images)
        return {"one": torch.zeros(len(images), 1)}

    count_groups(logits, split, data)
    assert numpy.allclose(seen[0].mean(dim=(0, 2, 3, 4)), [0.2, 0.2, 0.0], atol=1e-6)


def test_batches_on_file_do_not_depend_on_where_they_start(on_file: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("erm", data_root, num_steps=12, batch_size=32)
    data = on_file.to(CPU, 0)
    batches = Batches(data, build(setup, data).phases()[0], 1, False, workers=2)
    whole, tail = (list(batches.from_step(start)) for start in (0, 7))  # 4 or 5 batches to an epoch
    assert len(tail) == 5
    for expected, found in zip(whole[7:], tail, strict=True):
        assert found.index.equal(expected.index)
        assert found.image.equal(expected.image)
