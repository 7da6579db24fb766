"""Memory of large tensors that is used again: when nothing needs it any more, and not before."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from debiaslab.core import memory
from debiaslab.core.memory import reused_memory, rows

LARGE = (2, 2**18)  # float32 of 2 MiB


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", {torch.float32: [], torch.uint8: []})


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def test_memory_is_used_again_when_the_tensor_is_gone() -> None:
    tensor = reused_memory(LARGE, torch.float32)
    assert tensor.shape == LARGE
    assert tensor.dtype == torch.float32
    first = place(tensor)
    del tensor
    assert place(reused_memory(LARGE, torch.float32)) == first


def test_memory_of_a_tensor_that_is_there_is_not_used_again() -> None:
    first, second = reused_memory(LARGE, torch.float32), reused_memory(LARGE, torch.float32)
    assert place(first) != place(second)


def test_memory_that_a_view_shares_is_not_used_again() -> None:
    tensor = reused_memory(LARGE, torch.float32)
    view = tensor[1, 5:].detach()
    del tensor
    assert place(reused_memory(LARGE, torch.float32)) != place(view)


def test_memory_that_a_graph_has_saved_is_not_used_again() -> None:
    layer = nn.Linear(2**18, 1)
    images = reused_memory(LARGE, torch.float32).fill_(1)
    used = place(images)
    loss = layer(images).sum()
    del images
    assert place(reused_memory(LARGE, torch.float32).fill_(7)) != used
    loss.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.eq(2).all()
    del loss
    assert used in {place(tensor) for tensor in [reused_memory(LARGE, torch.float32) for _ in range(2)]}


def test_a_smaller_tensor_uses_larger_memory_and_a_larger_one_has_its_own() -> None:
    tensor = reused_memory(LARGE, torch.float32)
    first = place(tensor)
    del tensor
    smaller = reused_memory((1, 2**18), torch.float32)
    assert place(smaller) == first
    assert smaller.shape == (1, 2**18)
    del smaller
    larger = reused_memory((3, 2**18), torch.float32)
    assert larger.fill_(1).sum() == larger.numel()


def test_small_and_huge_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEPT", range(2**20, 2**21))
    for size in (2**20 - 1, 2**21):
        assert len(reused_memory([size], torch.uint8)) == size
    assert not memory._free[torch.uint8]


def test_rows_are_those_of_the_index_in_any_order() -> None:
    values = torch.randint(0, 256, (40, 3, 200, 200), dtype=torch.uint8)
    for _ in range(3):
        index = torch.randint(0, 40, (20,))
        assert rows(values, index).equal(values[index])
    assert len(memory._free[torch.uint8]) == 1


def test_threads_do_not_share_memory() -> None:
    def filled(number: int) -> bool:
        tensor = reused_memory(LARGE, torch.float32)
        return all(bool(tensor.fill_(number + step).eq(number + step).all()) for step in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(filled, range(0, 1_000, 10)))
