"""Optimisers are PyTorch's, without its compiler."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adamp import AdamP
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer

from debiaslab.methods.optimizers import OPTIMIZERS, build_optimizer

ROOT = Path(__file__).parents[2]
STEPS = 6
ORIGINALS: dict[str, Callable[..., Optimizer]] = {
    "adam": lambda parameters, **rates: Adam(parameters, fused=True, **rates),
    "adamp": AdamP,
    "adamw": lambda parameters, **rates: AdamW(parameters, fused=True, **rates),
    "sgd": lambda parameters, **rates: SGD(parameters, momentum=0.9, fused=True, **rates),
    "sgd_without_momentum": lambda parameters, **rates: SGD(parameters, fused=True, **rates),
}


def trained(build: Callable[[nn.Module], Optimizer]) -> list[Tensor]:
    """The weights after some steps; the optimiser's state goes through `state_dict` and back on the way."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = build(network)
    for _ in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(network(torch.randn(8, 6)), torch.randint(3, (8,))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        state = optimizer.state_dict()
        optimizer = build(network)
        optimizer.load_state_dict(state)
    return [parameter.detach() for parameter in network.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_are_those_of_the_original(name: str) -> None:
    ours = trained(lambda network: build_optimizer(name, [network], 0.1, 0.01))
    others = trained(lambda network: ORIGINALS[name](network.parameters(), lr=0.1, weight_decay=0.01))
    for mine, other in zip(ours, others, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_no_step_is_recorded_for_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    module = sys.modules[Adam.__module__]
    compute = module.adam  # what a step calls

    def watched(*values: Any, **more: Any) -> None:
        found.append(torch.is_grad_enabled())
        compute(*values, **more)

    monkeypatch.setattr(module, "adam", watched)
    trained(lambda network: build_optimizer("adam", [network], 0.1, 0.0))
    assert found == [False] * STEPS


def test_training_does_not_import_the_compiler(tmp_path: Path) -> None:
    """It takes longer than a run of a few steps."""
    code = f"""
import sys; from debiaslab import main
from debiaslab.methods.optimizers import OPTIMIZERS, build_optimizer
from torch.nn import Linear
for name in OPTIMIZERS:
    settings = ["digits", "smoke", "num_steps=2", f"method.hparams.optimizer={{name}}", "data.root={tmp_path}"]
    assert main.run(["-u", "with", *settings]) == 0
    optimizer = build_optimizer(name, [Linear(2, 2)], 0.1, 0.0)
    optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
