"""What of the benchmark for a GPU needs none."""

from dataclasses import replace

import pytest
import torch

from benchmarks import gpu
from debiaslab.datasets import BiasedDataset
from debiaslab.models.numerics import Numerics

CPU = torch.device("cpu")


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.run() == []
    assert capsys.readouterr().out == "nothing measured: the goals for a GPU need a GPU with CUDA\n"


def test_work_of_the_device_is_summed() -> None:
    events = [
        {"cat": "kernel", "dur": 1_000_000, "name": "gemm"},
        {"cat": "gpu_memcpy", "dur": 500_000},
        {"cat": "gpu_user_annotation", "dur": 9_000_000},
        {"cat": "cuda_runtime", "dur": 9_000_000},
        {"ph": "M", "name": "process_name"},
    ]
    assert gpu.kernels_in({"traceEvents": events}) == 1.5


def test_trainings_are_the_published_ones_in_parts() -> None:
    denetdm, erm, lff = (training(cuda_graphs=True) for training in gpu.WHOLE)
    assert (denetdm.scale * denetdm.hparams["epochs"], denetdm.goal) == (100, 30)
    assert denetdm.title == "DeNetDM on Colored MNIST, 100 + 100 epochs, CUDA graphs"
    for training, goal in ((erm, 60), (lff, 150)):
        assert (training.scale * training.hparams["num_steps"], training.goal) == (50_000, goal)
        assert training.hparams["batch_size"] == 256
        assert training.numerics == Numerics("bf16", channels_last=True)


def test_what_is_measured_trains(
    digits: BiasedDataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the CPU, where there are no kernels of a device to sum, and no graphs."""
    part = {"num_steps": 3, "epochs": None, "batch_size": 20, "hand_over": "last"}
    training = replace(gpu.WHOLE[0](cuda_graphs=False), data=lambda: digits.limit(20), hparams=part)
    monkeypatch.setattr(gpu, "PROFILED_STEPS", 1)
    monkeypatch.setattr(gpu, "kernel_seconds", lambda work: work() or 1e-3)
    row = gpu.whole_training(training, CPU)
    assert row.ratio == pytest.approx(30 / row.ours)
    assert [row.name.rpartition(": ")[2] for row in gpu.steps(training, CPU)] == ["step of separate", "step of distill"]
    seeds = gpu.several_seeds(training, CPU)
    assert seeds.baseline is not None
    assert seeds.ratio == pytest.approx(seeds.baseline / seeds.ours)
    assert seeds.goal == pytest.approx(1 / 1.5)
