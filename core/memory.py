"""Reuse of the memory of large CPU tensors.

PyTorch returns the memory of a large tensor to the system as soon as the tensor is freed, and the system zeroes new
memory page by page: for batches of 224x224 images, this takes longer than writing them.
"""

import weakref
from collections import defaultdict
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = range(2**20, 2**28)  # sizes worth keeping, in bytes: smaller ones are cheap, larger ones are rare

_free: dict[torch.dtype, list[NDArray[Any]]] = defaultdict(list)


def reused_memory(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised CPU tensor of `shape`.

    Large ones use memory from a pool, to which it returns when all tensors that share it, and all autograd graphs that
    saved one, have been freed.
    """
    size = prod(shape)
    if size * dtype.itemsize not in KEPT:
        return torch.empty(tuple(shape), dtype=dtype)
    free = _free[dtype]
    try:
        memory = free.pop()
    except IndexError:
        memory = None
    if memory is None or len(memory) < size:
        memory = torch.empty(size, dtype=dtype).numpy()
    lent = memory[:size]  # lives as long as a tensor on it
    weakref.finalize(lent, free.append, memory).atexit = False
    return torch.from_numpy(lent).view(*shape)


def copy_to(values: Tensor, device: torch.device) -> Tensor:
    """Copy `values` to `device`, asynchronously except to "mps", which may read memory after it has been reused."""
    return values.to(device, non_blocking=device.type != "mps")


def rows(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]` for index int64 [M], in reused memory if `values` is on the CPU."""
    if values.device.type != "cpu":
        return values.index_select(0, index)
    return torch.index_select(values, 0, index, out=reused_memory((len(index), *values.shape[1:]), values.dtype))
