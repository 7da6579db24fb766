"""How many runs at a time pay on this machine."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from debiaslab.core.gpus import visible_gpus
from debiaslab.models import WITHOUT_CONVOLUTIONS

DEFAULT = "default: one per GPU; on the CPU one per core for small networks, else 1"


def jobs_that_pay(configs: Sequence[Mapping[str, Any]]) -> int:
    """One run per GPU; on the CPU, one per core if all networks are small, as these train on one thread, else one.

    `configs` are the configurations of the runs; a network without convolutions is taken to be small. One at a time if
    several processes train one (`ranks`).
    """
    if any(config["ranks"] != 1 for config in configs):
        return 1
    if all(config["device"] in ("auto", "cuda") for config in configs) and (gpus := visible_gpus()):
        return len(gpus)
    on_cpu = all(config["device"] in ("auto", "cpu") for config in configs)
    small = all(config["model"]["name"] in WITHOUT_CONVOLUTIONS for config in configs)
    return num_cores() if on_cpu and small else 1


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
