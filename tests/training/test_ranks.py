"""Several processes for one run, on every method: `tests.training.short_runs` by two processes, started once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from debiaslab.core import ranks
from debiaslab.core.errors import UserError
from debiaslab.core.ranks import OwnImages, Ranks
from debiaslab.methods import METHODS
from debiaslab.models.base import PoolingEncoder
from debiaslab.models.batch_norm import share_encoders
from debiaslab.recording.server import free_port
from tests.training.parts import Parts
from tests.training.short_runs import read_left, train_short

ROOT = Path(__file__).parents[2]
TOLERANCE = {"dfr": 1e-5}  # computes in float32


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory, data_root: Path, digits: object) -> Path:
    """A folder with what each short run of two processes has left; by name and precision."""
    folder = tmp_path_factory.mktemp("ranks")
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.short_runs", str(data_root), str(folder)],
            cwd=ROOT,
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_processes_equal_one_that_takes_batches_in_parts(by_two: Path, data_root: Path, name: str) -> None:
    """To the bit: losses of all steps, evaluations, weights and the state of each sample."""
    left, expected = read_left(by_two / f"{name}_float32"), train_short(name, data_root, Parts(2))
    assert torch.equal(left.losses, expected.losses)
    assert left.evaluations == expected.evaluations
    assert left.state.keys() == expected.state.keys()
    assert [key for key, values in expected.state.items() if not torch.equal(values, left.state[key])] == []


@pytest.mark.parametrize("name", METHODS)
def test_processes_equal_one_up_to_rounding(by_two: Path, data_root: Path, name: str) -> None:
    left, expected = read_left(by_two / f"{name}_float64"), train_short(name, data_root, double=True)
    torch.testing.assert_close(left.losses, expected.losses, rtol=TOLERANCE.get(name, 1e-9), atol=1e-12)


def test_batch_norm_over_parts_is_that_of_the_whole_batch() -> None:
    """Outputs, gradients and running statistics; parts of 3 and 4 images."""
    torch.manual_seed(0)
    image, wanted = torch.randn(7, 2, 5, 5, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    alone, shared = (
        PoolingEncoder(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU()), 4).double()
        for _ in range(2)
    )
    shared.load_state_dict(alone.state_dict())
    sharing = Parts(2)
    share_encoders(shared, sharing)
    for _ in range(2):
        (alone(image) * wanted).sum().backward()  # type: ignore[no-untyped-call]
        with ranks.shared_by(sharing):
            (shared(image) * wanted).sum().backward()  # type: ignore[no-untyped-call]
        sharing.sum_gradients(shared.parameters())
    for ours, theirs in zip(shared.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)
    for name, values in alone.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], values, rtol=1e-9, atol=1e-12)


def test_a_batch_of_one_image_has_an_empty_part() -> None:
    encoder = PoolingEncoder(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU()), 4)
    sharing = Parts(2)
    share_encoders(encoder, sharing)
    image = torch.randn(1, 2, 5, 5)
    with ranks.shared_by(sharing):
        features = encoder(image)
        features.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(features, encoder(image))
    assert Ranks(0, 2).part(1) == slice(0, 0)
    assert Ranks(1, 2).part(1) == slice(0, 1)


class TwoHalves(Ranks):
    """Process 0 of 2; both have the same images."""

    def gather(self, own: Tensor, count: int) -> Tensor:
        return torch.cat([own, own])


def test_images_of_a_part_are_gathered_when_a_method_computes_with_them() -> None:
    own = torch.arange(6.0).view(2, 3)
    images = OwnImages.of(own, 4, TwoHalves(0, 2))
    assert images.shape == (4, 3)
    assert len(images) == 4
    assert images.device == own.device
    assert images.gathered is None
    assert torch.equal(images[torch.tensor([3, 0])], own[[1, 0]])
    mixed = torch.stack([images * 2, torch.cat([own, own])])
    assert type(mixed) is Tensor
    assert torch.equal(mixed[0], 2 * mixed[1])


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), nn.BatchNorm2d(4, affine=False)])
def test_layers_that_cannot_be_computed_in_parts(layer: nn.Module) -> None:
    with pytest.raises(UserError, match=f"ranks: the network has {type(layer).__name__} layers"):
        share_encoders(PoolingEncoder(nn.Sequential(layer), 4), Ranks(0, 2))
