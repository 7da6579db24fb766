"""How many runs at a time pay, and which GPU each has; the GPUs are made up."""

from pathlib import Path

import pytest
import torch

from debiaslab.commands import parallel
from debiaslab.commands.parallel import jobs_that_pay
from debiaslab.commands.searches.plan import make_plan
from debiaslab.commands.searches.words import read_search
from debiaslab.config import ex
from debiaslab.core.gpus import visible_gpus
from debiaslab.recording import launcher
from debiaslab.recording.configuration import configuration
from debiaslab.recording.launcher import Local
from tests.recording.test_launcher import STAND_IN, outcome_of


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One with 8 cores and no GPU."""
    monkeypatch.setattr(parallel, "num_cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


def jobs_of(*runs: str) -> int:
    return jobs_that_pay([configuration(ex, ["digits", *words.split()]) for words in runs])


def test_one_per_core_for_small_networks(machine: pytest.MonkeyPatch) -> None:
    assert jobs_of("method=erm", "method=denetdm device=cpu") == 8
    assert jobs_of("method=erm", "method=erm model=resnet18") == 1
    assert jobs_of("method=erm device=mps") == 1
    assert make_plan(read_search(["digits", "method=erm"])).words.jobs == 8
    assert make_plan(read_search(["digits", "method=erm", "jobs=3"])).words.jobs == 3


def test_one_per_gpu(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cuda, "device_count", lambda: 2)
    assert jobs_of("method=erm", "method=erm model=resnet18") == 2
    assert jobs_of("method=erm device=cpu") == 8
    assert jobs_of("method=erm device=cuda:1") == 1
    assert jobs_of("method=erm ranks=2") == 1
    assert visible_gpus() == ["0", "1"]
    machine.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7f")
    assert visible_gpus() == ["5", "GPU-7f"]


def test_runs_are_spread_over_several_gpus(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(launcher, "visible_gpus", lambda: ["3", "4"])
    machine.setattr(launcher, "program_command", lambda: STAND_IN)
    machine.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    machine.chdir(tmp_path)
    local = Local()
    first, second = (local.start(["wait", name, "end"], Path(f"{name}.txt")) for name in "ab")
    assert [local.gpu_of[handle] for handle in (first, second)] == ["3", "4"]
    assert local.start(["exit", "0", "device=cuda:1"], Path("c.txt")) not in local.gpu_of
    assert local.start(["exit", "0", "ranks=2"], Path("e.txt")) not in local.gpu_of
    Path("end").touch()
    outcome_of(local, first)
    third = local.start(["tell", "device=cuda"], Path("d.txt"))
    assert local.gpu_of[third] in ("3", "4")
    told = outcome_of(local, third).output.read_text()
    assert '"gpu": "3"' in told or '"gpu": "4"' in told
    local.stop()
    assert local.gpu_of == {}
