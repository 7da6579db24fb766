"""Process-wide set-up; importing the package changes nothing in the process.

`python main.py` and the command `debiaslab` call it first. So can a notebook or script that should train as fast as
they do, with bit-identical results:

    from debiaslab.core import process

    with process.starting():
        from debiaslab.methods import METHODS
    process.set_up_torch()
"""

import ctypes
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Read once, when torch is imported
ENVIRONMENT = {
    # Idle OpenMP threads spin. With the default spin count, small steps take many times as long when other processes
    # are busy; a short spin keeps most of the speed on an idle machine.
    "GOMP_SPINCOUNT": "1000",
    # The system zeroes new memory page by page, which for 4 KiB pages takes several times as long as writing the
    # tensor. This makes PyTorch ask Linux for 2 MiB pages.
    "THP_MEM_ALLOC_ENABLE": "1",
}

# Options of glibc's mallopt, in bytes: freed memory to keep, and the largest request to serve from it
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = (-1, 2**28), (-3, 2**25)


@contextmanager
def starting() -> Iterator[None]:
    """Set the environment variables that torch reads, and speed up the imports within the block.

    Imported objects live as long as the process: garbage collection is off within the block, which saves a tenth of the
    start-up time, and ignores them from then on. Sacred imports pandas if it is installed, only to pickle data frames,
    which are never recorded here: pandas is hidden within the block.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    gc.disable()
    try:
        with without("pandas"):
            yield
    finally:
        gc.freeze()
        gc.enable()


def set_up_torch() -> None:
    """Set up PyTorch on the CPU, for this thread and threads that start later: call it before computing anything.

    Denormal numbers (below 1e-38) are flushed to 0: Intel processors take many times as long for them, and decayed
    weights and averages of rare gradients end up there.
    """
    import torch  # imported here: `starting` must come before

    keep_freed_memory()
    torch.set_flush_denormal(True)


def set_up_cuda() -> None:
    """Make results on a GPU reproducible: use deterministic algorithms where they exist, and do not warn elsewhere."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.set_deterministic_debug_mode("warn")  # not use_deterministic_algorithms, which imports the compiler
    warnings.filterwarnings("ignore", message=".* does not have a deterministic implementation")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a kernel per new tensor


def keep_freed_memory() -> None:
    """Make glibc keep freed memory; otherwise each step allocates its gradients from the system."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, size in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            library.mallopt(option, size)


@contextmanager
def without(name: str) -> Iterator[None]:
    """Hide the package `name` within the block, as if it were not installed, unless it is imported already.

    For libraries that import an optional package even if it will not be used.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
