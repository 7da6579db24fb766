"""Memory of tensors and arrays on the CPU that is used again.

The system hands out new memory cleared, page by page, and PyTorch gives that of a large tensor back as soon as the
tensor is gone: for images of 224 x 224 pixels, that takes longer than to write them.
"""

import weakref
from collections import defaultdict
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = range(2**20, 2**28)  # sizes in bytes of the memory that is kept: not what is cheap, nor what is rare

_free: dict[torch.dtype, list[NDArray[Any]]] = defaultdict(list)


def reused_memory(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor of `shape` on the CPU, of any values.

    What a large one has had is used for another when every tensor that shares it, and every graph that has saved one,
    is gone.
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


def placed(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`, without waiting for it; but for "mps", which reads later what it is given: the memory may
    be used again by then."""
    return values.to(device, non_blocking=device.type != "mps")


def rows(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]`, index int64 [M], in memory that is used again where `values` are on the CPU."""
    if values.device.type != "cpu":
        return values.index_select(0, index)
    return torch.index_select(values, 0, index, out=reused_memory((len(index), *values.shape[1:]), values.dtype))
