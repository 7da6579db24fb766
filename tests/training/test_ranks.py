"""Several processes for one run, on every method: `tests.training.short_runs` by two processes, started once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from debiaslab.methods import METHODS
from debiaslab.recording.server import free_port
from tests.training.parts import Parts
from tests.training.short_runs import read_left, train_short

ROOT = Path(__file__).parents[2]
NUM_STEPS_IN_FLOAT64 = 10
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
            | {"OMP_NUM_THREADS": "1", "DEBIAS_LOGS": ""},
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
