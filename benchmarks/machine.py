"""This machine: its hardware, its matrix-product rate and its memory bandwidth."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from debiaslab.training.device import wait_for_device

GEMM_SIZE = 1_024
COPY_BYTES = 2**28  # far beyond any cache
SECONDS = 0.5  # spent on each of the two rates


@dataclass(frozen=True)
class Work:
    """The minimum number of floating-point operations and bytes moved by a repeat, counted from shapes."""

    operations: float = 0
    bytes: float = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Work":
        return Work(self.operations * times, self.bytes * times)


def linear(batch: int, fan_in: int, fan_out: int, *, backward: bool, input_gradient: bool = False) -> Work:
    """Work of a float32 linear layer: forward; `backward` adds the gradient of its weights, `input_gradient` that of
    its input. Every product reads two matrices and writes one."""
    products = 1 + backward + input_gradient
    return Work(2 * batch * fan_in * fan_out, 4 * (batch * fan_in + fan_in * fan_out + batch * fan_out)) * products


def adam(parameters: int) -> Work:
    """Work of a fused Adam step, float32: reads parameter, gradient and two moments, writes all but the gradient."""
    return Work(12 * parameters, 4 * 7 * parameters)


@dataclass(frozen=True)
class Rates:
    """Measured: operations per second of a float32 matrix product, bytes per second read and written by a copy."""

    operations: float
    bytes: float

    def seconds(self, work: Work) -> float:
        """Return the roofline bound: the minimum time of `work` at these rates."""
        return max(work.operations / self.operations, work.bytes / self.bytes)


@lru_cache(maxsize=2)
def measured_rates(threads: int) -> Rates:
    """Measure the rates of the GPU or, without one, of `threads` CPU threads: the best of several tries."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = (torch.rand(GEMM_SIZE, GEMM_SIZE, device=device) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return Rates(
        operations=2 * GEMM_SIZE**3 / fastest(lambda: torch.mm(left, right, out=product)),
        bytes=2 * COPY_BYTES / fastest(lambda: target.copy_(source)),
    )


def fastest(work: Callable[[], object]) -> float:
    """Return the minimum seconds of a call; on the CPU, processor time divided by torch's threads."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    threads = 1 if torch.cuda.is_available() else torch.get_num_threads()
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        start = clock()
        work()
        wait_for_device()
        best = min(best, clock() - start)
    return best / threads


def facts() -> dict[str, Any]:
    """Return machine, versions, threads, date and commit, to be stored with a measurement."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
    }


def git(*arguments: str) -> str | None:
    """Return the output of a git command in this repository; None without git or a repository."""
    try:
        told = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
