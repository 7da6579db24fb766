import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from debiaslab.commands import evaluate
from debiaslab.methods import phase
from debiaslab.training import loop
from debiaslab.training.device import LARGE_LAYER, cpu_threads, threads_for
from tests.conftest import Command

ROOT = Path(__file__).parents[2]
SIDE = int(LARGE_LAYER**0.5)


@pytest.mark.parametrize(
    ("networks", "threads"),
    [
        (nn.Sequential(nn.Linear(2352, 100), nn.BatchNorm1d(100), nn.Linear(100, 10)), 1),
        (nn.Linear(SIDE, SIDE - 1), 1),
        (nn.Linear(SIDE, SIDE), 2),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2)), 2),
    ],
)
def test_small_networks_compute_on_one_thread(networks: nn.Module, threads: int) -> None:
    with cpu_threads(2):
        with threads_for(networks):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), threads_for(networks):
            raise KeyError
        assert torch.get_num_threads() == 2


@pytest.mark.processes
def test_a_gpu_is_set_up_without_the_compiler() -> None:
    """Its import would take more than a second of every run. Here without a GPU: nothing is asked of it."""
    program = """if True:
        import sys
        from unittest.mock import patch
        import torch
        from debiaslab.training.device import choose_device
        with patch.object(torch, "empty"):
            choose_device("cuda")
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
        """
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


@pytest.mark.processes
@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor always keeps such numbers")
def test_all_threads_of_a_run_take_numbers_below_the_least_normal_one_as_zero(
    tmp_path: Path, data_root: Path, digits: object
) -> None:
    """In a process of its own: threads that are there already do not hear of it."""
    program = """if True:
        import sys, torch; from debiaslab import main
        from debiaslab.methods import phase
        found, descend = [], phase.descend

        def watched(*values):
            found.append(int((torch.full((2**20,), 1e-30) * 1e-10).count_nonzero()))
            descend(*values)

        torch.set_num_threads(2)
        phase.descend = watched
        words = "method=lff model=resnet20 num_steps=2 evaluate_images=10 method.hparams.batch_size=16"
        print("exit code", main.run(["-u", "with", *words.split(), *sys.argv[1:]]), "found", *found)
        """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, f"data.root={data_root}"]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "exit code 0 found 0 0"


def test_a_run_does_so_in_training_and_evaluation(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, int]] = []

    def watched(place: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(place, name)

        def watch(*values: Any) -> Any:
            found.append((f"{place.__name__}.{name}", torch.get_num_threads()))
            return function(*values)

        monkeypatch.setattr(place, name, watch)

    watched(phase, "descend")
    watched(loop, "measure_splits")
    watched(evaluate, "measure_splits")
    with cpu_threads(2):
        trained = command("with", "smoke", "method=erm")
        assert command("evaluate", "with", "method=erm", f"checkpoint={trained.runs[0]}").code == 0
        assert torch.get_num_threads() == 2
    assert set(found) == {
        ("debiaslab.methods.phase.descend", 1),
        ("debiaslab.training.loop.measure_splits", 1),
        ("debiaslab.commands.evaluate.measure_splits", 1),
    }
