"""Where a run is trained: its device, and the processes that share it."""

import os

import torch

from debiaslab.core.console import plural
from debiaslab.core.errors import UserError
from debiaslab.settings.run import RunSettings
from debiaslab.training.device import choose_device


def device_of(run: RunSettings) -> torch.device:
    """The device of this process: of several on a machine, each has the GPU with its number.

    Raises `UserError` if it is not available.
    """
    name = run.device
    if run.ranks > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    return choose_device(name)


def require_graphs(device: torch.device) -> None:
    """Raise `UserError` for a device without CUDA graphs."""
    if device.type != "cuda":
        raise UserError(f"cuda_graphs=True: the device is {device.type}, without CUDA; set it to False")


def require_ranks(run: RunSettings, batch_size: int, run_here: bool) -> None:
    """Raise `UserError` if batches of `batch_size` images cannot be shared by as many processes as `ranks` says.

    `run_here`: on this machine, or as many as LOCAL_WORLD_SIZE, if the others are elsewhere.
    """
    ranks, name = run.ranks, run.device
    if ranks == 1:
        return
    if run.cuda_graphs:
        raise UserError(f"cuda_graphs=True: a step of ranks={ranks} processes cannot be captured; set it to False")
    if batch_size < ranks:
        raise UserError(
            f"ranks={ranks}: a batch of {batch_size} has no image for some process; use at most ranks={batch_size}"
        )
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"ranks={ranks}: each process has a GPU of its own; leave out device={name}")
    on_gpus = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks)) if run_here else 0
    if on_gpus and (found := torch.cuda.device_count()) < here:
        raise UserError(f"ranks={ranks}: this machine has {plural(found, 'GPU')}; use at most as many, or device=cpu")
