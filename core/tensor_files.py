"""Tensors and JSON-able facts in one safetensors file, with a checksum of both.

The file's metadata has one entry (several would be written in random order): JSON with the format version, the checksum
and the facts. In files of version 1 the facts are at the top level of that JSON, and there is no checksum.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from debiaslab.core.files import atomic_write, cannot_write, require_regular

ENTRY = "debiaslab"
FORMAT = 2  # increment it with every change that older code cannot read
HEADER = 2**20  # bytes; an upper bound for the names of tensors


class Damaged(Exception):
    """A file is not as it was written. The message is the reason; callers turn it into advice for the user."""


class Foreign(Exception):
    """A tensor file that was not written by this project."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write `tensors`, from any device, and the JSON-able `facts` to `path`.

    Raises `UserError` if they cannot be written; if the disk is too full, before anything is written.
    """
    owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if len({tensor.untyped_storage().data_ptr() for tensor in owned.values()}) < len(owned):
        owned = {name: tensor.clone() for name, tensor in owned.items()}  # the format does not allow shared memory
    known = json.loads(json.dumps(facts))
    entry = {"format": FORMAT, "checksum": checksum(owned, known), "facts": known}
    text = json.dumps(entry)
    size = sum(tensor.nbytes for tensor in owned.values()) + len(text) + HEADER
    with atomic_write(path, size) as temporary:
        try:
            save_file(owned, temporary, metadata={ENTRY: text})
        except SafetensorError as error:  # a full disk, for instance
            raise cannot_write(path, error) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, memory-mapped on the CPU, and the facts.

    Raises `Damaged` for an incomplete file or a wrong checksum, `Foreign` for a file that this project has not written,
    and `OSError` if it cannot be read.
    """
    with _opened(path) as (file, expected, facts):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if expected is not None and checksum(tensors, facts) != expected:
            raise Damaged("its checksum does not match")
    return tensors, facts


def read_facts(path: Path) -> dict[str, Any]:
    """Read the facts alone, without verifying the checksum. Raises as `read_tensors`."""
    with _opened(path) as (_, _, facts):
        return facts


def checksum(tensors: Mapping[str, Tensor], facts: Any) -> str:
    """Checksum of names, dtypes, shapes and values: 32 hex digits (XXH3, 128 bits), against accidents, not forgery."""
    digest = xxhash.xxh3_128(json.dumps(facts).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"/{name}/{tensor.dtype}/{list(tensor.shape)}/".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str | None, dict[str, Any]]]:
    """Open a file; yields it with its checksum (None in version 1) and its facts."""
    try:
        require_regular(path)
        with safe_open(path, framework="pt") as file:
            entry = json.loads((file.metadata() or {}).get(ENTRY, "null"))
            match entry:
                case {"format": 1}:
                    yield file, None, {name: value for name, value in entry.items() if name != "format"}
                case {"format": 2, "checksum": str(), "facts": dict()}:
                    yield file, entry["checksum"], entry["facts"]
                case _:
                    raise Foreign
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise Damaged(str(error)) from None
