from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import main
from methods import base
from tests.conftest import Command
from training import loop
from training.device import LARGE_LAYER, cpu_threads, threads_for

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


def test_a_run_does_so_in_training_and_evaluation(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, int]] = []

    def watched(place: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(place, name)

        def watch(*values: Any) -> Any:
            found.append((f"{place.__name__}.{name}", torch.get_num_threads()))
            return function(*values)

        monkeypatch.setattr(place, name, watch)

    watched(base, "descend")
    watched(loop, "correct_counts")
    watched(main, "correct_counts")
    with cpu_threads(2):
        trained = command("with", "smoke", "method=erm")
        assert command("evaluate", "with", "method=erm", f"checkpoint={trained.runs[0]}").code == 0
        assert torch.get_num_threads() == 2
    assert set(found) == {("methods.base.descend", 1), ("training.loop.correct_counts", 1), ("main.correct_counts", 1)}
