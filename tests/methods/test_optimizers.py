import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer

from methods.optimizers import OPTIMIZERS, build_optimizer

ROOT = Path(__file__).parents[2]
PYTORCH: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def trained(build: Callable[[nn.Module], Optimizer]) -> list[Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = build(network)
    for _ in range(5):
        optimizer.zero_grad()
        cross_entropy(network(torch.randn(8, 6)), torch.randint(3, (8,))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert all(parameter.is_leaf for parameter in network.parameters())
    return [parameter.detach() for parameter in network.parameters()]


@pytest.mark.parametrize("name", PYTORCH)
def test_weights_are_those_of_pytorchs_own_optimizer(name: str) -> None:
    more = {"momentum": 0.9} if name == "sgd" else {}
    ours = trained(lambda network: build_optimizer(name, [network], 0.1, 0.01))
    others = trained(lambda network: PYTORCH[name](network.parameters(), lr=0.1, weight_decay=0.01, fused=True, **more))
    for mine, other in zip(ours, others, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_training_does_not_import_the_compiler(tmp_path: Path) -> None:
    """It takes longer than a run of a few steps."""
    code = f"""
import main, sys
for name in {list(OPTIMIZERS)}:
    settings = ["digits", "smoke", "num_steps=2", f"method.hparams.optimizer={{name}}", "data.root={tmp_path}"]
    assert main.run(["-u", "with", *settings]) == 0
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
