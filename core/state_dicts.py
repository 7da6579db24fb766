"""Read state dicts from foreign files: bare or inside a training checkpoint, with or without name prefixes."""

import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.files import require_regular

State = Mapping[str, Tensor]
USUAL = ("state_dict", "model", "model_state_dict")  # preferred keys of a checkpoint with several state dicts
NO_TENSORS = "has no tensors by name, as torch.save(network.state_dict(), PATH) writes"
MISTAKEN = {  # first bytes of files that are often mistaken for weights -> what they are
    b"version https://git-lfs": "is a pointer of Git LFS, not the weights; get them with `git lfs pull`",
    b"<": "is a web page, not the weights; the download needs another address, or a login",
}


def read_state(path: Path, names: Collection[str], fix: str) -> dict[str, Tensor]:
    """Read the state dict in `path` that contains most of `names`, and strip the prefix of its names.

    Names without that prefix are left out. Floating-point values become float32; no code in the file is executed.
    Raises `UserError`, ending in `fix`, for a file without tensors, with several matching state dicts, or with values
    that are not finite.
    """
    found: dict[str, State] = {}
    for place, state in _state_dicts(_content(path, fix), ""):
        for prefix in _prefixes(state, names):
            found[f"{place}{prefix}"] = {
                name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
            }
    if not found:
        raise UserError(f"{path} {NO_TENSORS}; {fix}")
    count = {place: len(state.keys() & set(names)) for place, state in found.items()}
    most = max(count.values())
    best = [place for place in found if count[place] == most][: None if most else 1]
    if len(best) > 1:
        best = [place for place in best if place.split("/")[0] in USUAL] or best
    if len(best) > 1:
        raise UserError(
            f"{path} has several networks: {', '.join(sorted(best))}; save the one to use as a file of its own"
        )
    state = {name: value.float() if value.is_floating_point() else value for name, value in found[best[0]].items()}
    odd = [name for name in names if name in state and not bool(state[name].isfinite().all())]
    if odd:
        raise UserError(f"{path} is unusable: {odd[0]} has values that are infinite or NaN; {fix}")
    return state


def _content(path: Path, fix: str) -> Any:
    """Load the file; None for a file of another format."""
    try:
        if stat.S_ISDIR(require_regular(path).st_mode):
            return None
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        raise UserError(f"no file {path}; {fix}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {fix}") from None
    for beginning, what in MISTAKEN.items():
        if start.lstrip().startswith(beginning):
            raise UserError(f"{path} {what}")
    try:
        if start[8:9] == b"{":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise all kinds of errors for files of other formats
        if "Unsupported global" in str(error):
            raise UserError(
                f"{path} contains Python objects, which could run code and are not loaded;"
                f" save the state dict alone; {fix}"
            ) from None
        return None


def _state_dicts(content: Any, place: str) -> Iterator[tuple[str, State]]:
    """Yield (place, state dict) for the state dicts in `content`; a place is "" or such as "state_dict/"."""
    if not isinstance(content, Mapping):
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield place, tensors
    for name, value in content.items():
        yield from _state_dicts(value, f"{place}{name}/")


def _prefixes(state: State, names: Collection[str]) -> set[str]:
    """The possible prefixes of `names` in `state`: none, and those with which the first name occurs."""
    first = next(iter(names))
    return {"", *(name.removesuffix(first) for name in state if name.endswith(f".{first}"))}
