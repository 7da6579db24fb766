"""Checkpoints: tensors and JSON in one safetensors file, written atomically; nothing is unpickled."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from debiaslab.core import tensor_files
from debiaslab.core.errors import UserError
from debiaslab.core.tensor_files import Damaged, Foreign

LAST, SELECTED = "last.safetensors", "selected.safetensors"  # weights in a run's record

write_checkpoint = tensor_files.write_tensors


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, on the CPU, and facts in `path`. Raises `UserError` for a missing, damaged or foreign file."""
    with _as_user_errors(path):
        return tensor_files.read_tensors(path)


def read_facts(path: Path) -> dict[str, Any]:
    """Read the facts in `path` alone. Raises as `read_checkpoint`."""
    with _as_user_errors(path):
        return tensor_files.read_facts(path)


@contextmanager
def _as_user_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"no checkpoint {path}; a run's folder has {LAST} and {SELECTED}") from None
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    except Foreign:
        raise UserError(f"{path} is not a checkpoint of this project, or one of a later version") from None
    except Damaged as error:
        raise UserError(
            f"cannot read the checkpoint {path}: it is not one, or damaged ({error}); use a copy, or train again"
        ) from None


def require_same_identity(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `UserError`, naming the first setting in which a checkpoint's run differs from this one."""
    for key, value in wanted.items():
        if found.get(key) != value:
            raise UserError(f"{path} is of a run with {key}={found.get(key)!r}, not {value!r}; give the same settings")


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `<prefix>/`, without it."""
    prefix = f"{prefix}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as "<parameter>/<entry>" tensors, without its settings, which are in the configuration."""
    return {
        f"{parameter}/{entry}": torch.as_tensor(value)
        for parameter, entries in optimizer.state_dict()["state"].items()
        for entry, value in entries.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`. Integers are counts that the optimiser stores as int (AdamP's steps).

    Entries in the shape of their parameter get its memory layout, which fused optimisers rely on.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor | int]] = {}
    for name, tensor in tensors.items():
        number, entry = name.split("/")
        parameter = parameters[int(number)]
        placed = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
        state.setdefault(int(number), {})[entry] = placed if tensor.is_floating_point() else int(tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
