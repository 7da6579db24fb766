"""Everything that a program of this project sets for its whole process; importing the package sets nothing.

`python main.py` and the command `debiaslab` do it first thing. So may a notebook or a script that is to train as fast,
and with the same bits, as they do:

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
    # OpenMP's idle threads spin, by default for so long that beside other busy processes small steps take many times
    # as long. A short spin keeps most of the speed on an idle machine.
    "GOMP_SPINCOUNT": "1000",
    # The system clears new memory page by page, which for pages of 4 KiB takes several times as long as to write the
    # tensor. PyTorch then asks Linux for pages of 2 MiB.
    "THP_MEM_ALLOC_ENABLE": "1",
}

# Options of glibc's mallopt, in bytes: keep up to so much freed memory, and serve requests up to so large from it
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = (-1, 2**28), (-3, 2**25)


@contextmanager
def starting() -> Iterator[None]:
    """Set the environment variables that torch reads, and make the imports within the block fast.

    Imported objects live as long as the process: within the block the garbage collector does not look for dead ones
    among them, which takes a tenth of the start, and after it never will. Sacred imports pandas where it is installed,
    only to pickle data frames, which nothing here records: within the block it is not.
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
    """Set how PyTorch computes on the CPU, in this thread and in threads that start later: call it before computing.

    Numbers below the least normal one, 1e-38, become 0: Intel's processors take many times as long for them, and
    decayed weights and averages of rare gradients end there.
    """
    import torch  # imported here: `starting` must come before

    keep_freed_memory()
    torch.set_flush_denormal(True)


def set_up_cuda() -> None:
    """Make results on a GPU repeatable: deterministic algorithms wherever there are any, silently others elsewhere."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.set_deterministic_debug_mode("warn")  # not use_deterministic_algorithms, which imports the compiler
    warnings.filterwarnings("ignore", message=".* does not have a deterministic implementation")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a kernel per new tensor


def keep_freed_memory() -> None:
    """Have glibc keep what this process frees: else every step's gradients are new memory from the system."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, size in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            library.mallopt(option, size)


@contextmanager
def without(name: str) -> Iterator[None]:
    """Within the block, importing the package `name` fails as if it were not installed, unless it is imported already.

    For a library that imports it where it is installed, whether or not it will be used.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
