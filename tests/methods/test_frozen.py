from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.augmentation import CropAndFlip
from debiaslab.methods import Batch, frozen
from debiaslab.methods.denetdm import DeNetDM
from debiaslab.methods.frozen import FrozenOutputs
from debiaslab.training.batches import Batches
from tests.methods.building import short_setup


class Counting:
    """Images to their means, computed by `network`; counts the images."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.images = network, 0

    def __call__(self, image: Tensor) -> tuple[Tensor]:
        self.images += len(image)
        return (self.network(image),)


def parts(image: Tensor) -> Iterator[Batch]:
    for step, index in enumerate(torch.split(torch.arange(len(image)), 3)):
        yield Batch(image[index], torch.zeros(len(index), dtype=torch.int64), index, step)


def test_outputs_are_computed_once_for_each_image() -> None:
    image, network = torch.rand(8, 5), nn.Linear(5, 2)
    compute = Counting(network)
    outputs = FrozenOutputs(compute, [network])
    batch = Batch(image[[6, 1]], torch.zeros(2, dtype=torch.int64), torch.tensor([6, 1]), step=0)
    (before,) = outputs(batch)
    outputs.keep(parts(image))
    assert compute.images == 2 + 8
    (after,) = outputs(batch)
    assert compute.images == 2 + 8
    assert torch.allclose(before, after)
    assert not before.requires_grad
    assert not after.requires_grad


def test_more_than_the_memory_allows_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    image, network = torch.rand(8, 5), nn.Linear(5, 2)
    outputs = FrozenOutputs(Counting(network), [network])
    for limit, kept in ((8 * 2 * 4, 1), (8 * 2 * 4 - 1, 0)):
        monkeypatch.setattr(frozen, "MOST_BYTES", limit)
        outputs.keep(parts(image))
        assert outputs.num_kept == kept


def test_what_depends_on_the_batch_or_on_chance_is_not_kept() -> None:
    image = torch.rand(8, 5)
    for module in (nn.BatchNorm1d(5), nn.Dropout()):
        compute = Counting(module)
        outputs = FrozenOutputs(compute, [nn.Sequential(module)])
        outputs.keep(parts(image))
        assert compute.images == 0
        module.eval()
        outputs.keep(parts(image))
        assert compute.images == 8


def test_distillation_is_the_same_with_constants_kept(digits: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("denetdm", data_root)
    scalars: list[list[float]] = []
    for keep in (False, True):
        method = setup.build_method(digits, torch.device("cpu"))
        assert isinstance(method, DeNetDM)
        method.start_distillation()
        _, phase = method.phases()
        batches = Batches(digits, phase, seed=1, with_bias=False)
        assert batches.repeats_images
        if keep:
            phase.prepare(batches.in_order())
            assert method.constants.num_kept == 2
        scalars.append([float(value) for batch in batches.from_step(0) for value in phase.update(batch).values()])
    assert torch.allclose(torch.tensor(scalars[0]), torch.tensor(scalars[1]), rtol=1e-5)


def test_images_that_change_or_come_once_are_not_repeated(digits: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("denetdm", data_root)
    _, phase = setup.build_method(digits, torch.device("cpu")).phases()
    once = replace(phase, epochs=1, num_steps=None)
    assert not Batches(digits, once, seed=1, with_bias=False).repeats_images
    changing = replace(digits, augment=CropAndFlip(padding=1))
    assert not Batches(changing, phase, seed=1, with_bias=False).repeats_images
