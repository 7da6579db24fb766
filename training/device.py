"""Choice of the device and of its number of threads."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from debiaslab.core.errors import UserError
from debiaslab.core.process import set_up_cuda

LARGE_LAYER = 1_000_000  # weights of a layer from which on a second thread is worth waiting for


def wait_for_device() -> None:
    """Block until queued GPU work has finished, if a GPU is in use."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def choose_device(name: str) -> torch.device:
    """The device `name`; "auto" is the GPU if there is one. A GPU is made ready for repeatable results.

    Raises `UserError` for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise ValueError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ValueError):
        raise UserError(f"device={name!r} is not available; one of auto, cpu, cuda, cuda:N, mps") from None
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)  # what asks for no device, such as waiting, is about this one
        set_up_cuda()
    return device


def give_back_memory() -> None:
    """Leave the memory of a GPU that nothing here needs any more to other processes."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()


@contextmanager
def threads_for(networks: nn.Module) -> Iterator[None]:
    """Within the block, small networks compute on one thread of the CPU, others on as many as before.

    Small are those without convolutions and large layers. In their steps, threads would wait for each other longer than
    two save; and the results are the same to the bit however many cores there are.
    """
    small = all(weights.ndim <= 2 and weights.numel() < LARGE_LAYER for weights in networks.parameters())
    with cpu_threads(1 if small else None):
        yield


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Within the block, PyTorch has so many threads on the CPU (None: as many as before)."""
    if count is None:  # to set their number is to change more than that: MKL then no longer takes fewer where it would
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
