"""Compare two runs of the same configuration: their results, environments and code."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.evaluation.history import History

TOLERANCE = 0.5  # percent of the images of a split


@dataclass(frozen=True)
class Repetition:
    """The differences between a repeated run and the original.

    `evaluations` is their number; `counts` the largest difference in the correct counts of a split's groups, in percent
    of its images, and `where` it occurs; `weights` is file -> the largest relative difference of a tensor (0 only if
    all bits are equal).
    """

    evaluations: int
    counts: float
    where: str
    weights: Mapping[str, float]

    @property
    def is_identical(self) -> bool:
        """Whether all counts of all evaluations and all bits of the weights are equal."""
        return self.counts == 0 and not any(self.weights.values())

    def is_within(self, tolerance: float) -> bool:
        """Whether no evaluation differs by more than `tolerance` percent of the images of a split."""
        return self.counts <= tolerance


def compare_runs(original: Record, repeated: Record) -> Repetition:
    """Compare two runs. Raises `UserError` for damaged evaluations or weights."""
    first, second = original.history(), repeated.history()
    counts, where = _largest_difference(first, second)
    there = weight_names(repeated)
    weights = {
        name: _weights_differ(read_weights(original, name), read_weights(repeated, name)) if name in there else inf
        for name in weight_names(original)
    }
    return Repetition(len(first.evaluations), counts, where, weights)


def require_readable(record: Record) -> None:
    """Raise `UserError` if the evaluations or weights of a run are damaged, before it is compared with another."""
    record.history()
    for name in weight_names(record):
        read_weights(record, name)


def _largest_difference(first: History, second: History) -> tuple[float, str]:
    """(percent of the images of a split, where); infinite if the evaluations cannot be compared."""
    if first.total != second.total:
        return inf, "the groups of the data"
    if len(first.evaluations) != len(second.evaluations):
        return inf, f"the number of evaluations, {len(first.evaluations)} and {len(second.evaluations)}"
    largest, where = 0.0, ""
    for one, other in zip(first.evaluations, second.evaluations, strict=True):
        place = f"{one.phase} epoch {one.epoch}"
        if (one.phase, one.step) != (other.phase, other.step):
            return inf, f"the steps of the evaluations, at {place}"
        for split, branches in one.correct.items():
            if other.correct.get(split, {}).keys() != branches.keys():
                return inf, f"the branches, at {place}"
            total = numpy.sum(first.total[split])
            for branch, correct in branches.items():
                moved = numpy.abs(numpy.subtract(correct, other.correct[split][branch])).sum()
                percent = 100 * float(moved) / max(float(total), 1)
                if percent > largest:
                    largest, where = percent, f"{split}/{branch}, {place}"
    return largest, where


def weight_names(record: Record) -> list[str]:
    return sorted(name for name in record.artifact_names() if name.endswith(".safetensors"))


def read_weights(record: Record, name: str) -> dict[str, Tensor]:
    """Read the tensors in one of the run's files. Raises `UserError` if it is missing or damaged."""
    try:
        return load(record.artifact(name))
    except SafetensorError as error:
        raise UserError(f"the weights {name} of the run {record.id} are damaged: {error}") from None


def _weights_differ(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    if first.keys() != second.keys():
        return inf
    return max((_relative_difference(first[key], second[key]) for key in first), default=0.0)


def _relative_difference(first: Tensor, second: Tensor) -> float:
    """|first - second| / |first|, Euclidean; 0 only if all bits are the same."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return inf
    bits = [tensor.reshape(-1).contiguous().view(torch.uint8) for tensor in (first, second)]
    if torch.equal(*bits):
        return 0.0
    distance, size = (first.double() - second.double()).norm(), first.double().norm()
    relative = float(distance / size) if size > 0 else inf
    return max(relative, float(numpy.finfo(float).tiny))


def environment(record: Record) -> dict[str, str]:
    """Versions and hardware that results may depend on, by name."""
    entry = record.store.entry(record)
    host, machine = entry.get("host") or {}, record.info.get("machine") or {}
    found = {"Python": host.get("python_version"), "torch": machine.get("torch"), "device": machine.get("device")}
    packages = [name.split("==") for name in (entry.get("experiment") or {}).get("dependencies", [])]
    found |= {name: version for name, version in packages if name != "torch"}
    found |= {"processor": host.get("cpu"), "system": (host.get("os") or [None])[-1]}
    return {name: str(value) if value else "unknown" for name, value in found.items()}


def differences(original: Mapping[str, str], repeated: Mapping[str, str]) -> list[str]:
    """ "torch 2.12.0, now 2.13.0" for each entry in which two environments differ."""
    names = dict.fromkeys([*original, *repeated])
    both = {name: (original.get(name, "none"), repeated.get(name, "none")) for name in names}
    return [f"{name} {before}, now {now}" for name, (before, now) in both.items() if before != now]


def changed_files(record: Record, root: Path, now: set[str]) -> list[str]:
    """The source files, by path under `root`, that differ from those of the run; `now` are the current ones."""
    recorded = record.store.sources(record)

    def content(name: str) -> Any:
        return (root / name).read_bytes() if (root / name).is_file() else None

    return sorted(name for name in now | set(recorded) if recorded.get(name) != content(name))
