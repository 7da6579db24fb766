import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from debiaslab.core.errors import UserError
from debiaslab.methods.optimizers import OPTIMIZERS, build_optimizer
from debiaslab.training.checkpoint import load_optimizer, optimizer_tensors, read_checkpoint, write_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.rand(3, 4).T, "b": torch.tensor(3), "c": torch.tensor([True])}
    facts = {"best": 0.1 + 0.2, "history": [{"x": [1, 2]}]}
    write_checkpoint(tmp_path / "x.safetensors", tensors, facts)
    read, read_facts = read_checkpoint(tmp_path / "x.safetensors")
    assert read_facts == facts
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_where_it_stood(name: str) -> None:
    def step(network: nn.Linear, optimizer: torch.optim.Optimizer, times: int) -> None:
        for _ in range(times):
            optimizer.zero_grad()
            network(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = build_optimizer(name, [network], 0.1, 0.01)
    step(network, optimizer, 3)
    copy = nn.Linear(3, 2)
    copy.load_state_dict(network.state_dict())
    resumed = build_optimizer(name, [copy], 0.1, 0.01)
    load_optimizer(resumed, {key: tensor.clone() for key, tensor in optimizer_tensors(optimizer).items()})
    step(network, optimizer, 3)
    step(copy, resumed, 3)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(copy.parameters(), network.parameters(), strict=True))


def test_foreign_and_damaged_files(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('unpickled')",)

    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match=r"no checkpoint .*x\.safetensors; a run's folder has last.safetensors"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        read_checkpoint(path)
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(UserError, match="is not a checkpoint of this project"):
        read_checkpoint(path)
    write_checkpoint(path, {"a": torch.ones(1000)}, {})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        read_checkpoint(path)
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        read_checkpoint(tmp_path)


def test_a_flipped_bit_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, {"a": torch.ones(5), "b": torch.zeros(2, dtype=torch.int64)}, {"history": [0.25]})
    whole = path.read_bytes()
    for position in range(8 * len(whole)):
        content = bytearray(whole)
        content[position // 8] ^= 1 << position % 8
        path.write_bytes(content)
        with pytest.raises(UserError):
            read_checkpoint(path)


def test_a_file_of_the_first_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"debiaslab": json.dumps({"format": 1, "epoch": 3})})
    tensors, facts = read_checkpoint(path)
    assert facts == {"epoch": 3}
    assert tensors["a"].tolist() == [1, 1]
