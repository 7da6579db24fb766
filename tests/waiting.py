"""Finds what would make the host wait for a GPU, where there is none.

`no_waiting` refuses operations that on a GPU read a value, or the size of a result, back to the host. It looks at the
operations that tensors do; what reads memory without one (`tolist`, `numpy`) fails on the device "meta", whose tensors
have no values. There it refuses copies from the host that wait, too.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# operations that read from the device whatever their arguments; names of all overloads
READING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "allclose", "item"),
    *("nonzero", "nonzero_numpy", "argwhere", "masked_select"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
    *("bincount", "histc", "multinomial"),
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
COPYING = {"_to_copy", "copy_"}


class WaitsForDevice(AssertionError):
    """A step waits for the device."""


def no_waiting() -> AbstractContextManager[Any]:
    """Within it, `WaitsForDevice` is raised by what would wait for a GPU."""
    mode: AbstractContextManager[Any] = Refusing()  # type: ignore[no-untyped-call]
    return mode


class Refusing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        reason = waits(function.overloadpacket.__name__, args, options)
        if reason:
            raise WaitsForDevice(f"{function}: {reason}")
        return function(*args, **options)


def waits(name: str, args: Sequence[Any], options: Mapping[str, Any]) -> str | None:
    """Why the operation `name` would wait for a GPU; None if it would not."""
    if name in READING:
        return "reads a value or a size"
    if name in INDEXING and any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
        return "has as many results as a mask is true"
    if name == "repeat_interleave" and options.get("output_size") is None:
        return "has as many results as its counts say; output_size is not given"
    if name in COPYING and not (options.get("non_blocking") or args[2:3] == (True,)):
        source = args[1] if name == "copy_" else args[0]
        if isinstance(source, Tensor):  # else a number
            target = args[0].device if name == "copy_" else options.get("device") or source.device
            if source.device != target:
                return f"copies from {source.device} to {target}"
    return None
