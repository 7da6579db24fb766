"""Choose the device and the number of CPU threads."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from debiaslab.core.errors import UserError
from debiaslab.core.process import set_up_cuda

LARGE_LAYER = 1_000_000  # number of weights from which a layer gains from more than one thread


def wait_for_device() -> None:
    """Block until queued GPU work has finished, if a GPU is in use."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def choose_device(name: str) -> torch.device:
    """The device `name`; "auto" is the GPU if there is one. A GPU is set up for reproducible results.

    Raises `UserError` for a device that is not available.
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
            torch.cuda.set_device(device)  # the default device, for instance for synchronisation
        set_up_cuda()
    return device


def give_back_memory() -> None:
    """Release unused GPU memory to other processes."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()


@contextmanager
def threads_for(networks: nn.Module) -> Iterator[None]:
    """Use a single CPU thread for small networks within the block; others keep the number of threads.

    Networks without convolutions and large layers are small. In their steps, synchronising threads takes longer than
    two threads save; and with one thread the results are bit-identical on any number of cores.
    """
    small = all(weights.ndim <= 2 and weights.numel() < LARGE_LAYER for weights in networks.parameters())
    with cpu_threads(1 if small else None):
        yield


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Set PyTorch's number of CPU threads within the block (None: unchanged)."""
    if count is None:  # setting any number also keeps MKL from using fewer threads where that is faster
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
