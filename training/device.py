"""Choice of device, and settings that make its results repeatable."""

import os

import torch

from core.errors import UserError


def wait_for_device() -> None:
    """Return when a GPU, if there is one, has done what it was asked to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def choose_device(name: str) -> torch.device:
    """The device `name`; "auto" is the GPU if there is one. Raises `UserError` for a device that is not there."""
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
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a kernel for every new tensor
    return device
