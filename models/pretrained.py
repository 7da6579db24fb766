"""Pretrained weights for torchvision's ResNet-18: the ImageNet weights, or the user's own file."""

import hashlib
import sys
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.state_dicts import read_state
from debiaslab.core.vision import torchvision
from debiaslab.models.base import Architecture
from debiaslab.models.resnet import ResNet18Body

NONE, IMAGENET = "none", "imagenet"  # the values of `model.pretrained` that are not file names
CHOICES = "model.pretrained is imagenet, none, or a file with the weights of torchvision's ResNet-18"
COUNTER = "num_batches_tracked"
WITHOUT = "train from scratch with model.pretrained=none"


def require_weights(name: str, architecture: Architecture, source: Any) -> None:
    """Raise `UserError` unless the networks of `architecture`, called `name`, can start from the weights `source`."""
    if not isinstance(source, str):
        raise UserError(f"model.pretrained={source!r}: {CHOICES}")
    if source != NONE and architecture.pretrained_roles == ():
        raise UserError(f"model.pretrained={source}: model {name} has no network that takes these weights; {WITHOUT}")


@lru_cache(maxsize=1)
def read_weights(source: str) -> dict[str, Tensor] | None:
    """Read the state dict of a `ResNet18Body`, on the CPU; None for the source "none".

    "imagenet" is torchvision's ResNet18_Weights.IMAGENET1K_V1, which is downloaded into torch.hub's folder if it is not
    there yet; any other source is a file with a state dict of torchvision's ResNet-18 (`core/state_dicts.py`). The last
    layer, `fc`, is left out. Raises `UserError` if the weights are missing, cannot be read or do not fit.
    """
    if source == NONE:
        return None
    path = download() if source == IMAGENET else Path(source)
    body = ResNet18Body().state_dict()
    state = read_state(path, [name for name in body if not name.endswith(COUNTER)], CHOICES)
    own = {name: value for name, value in state.items() if not name.startswith("fc.")}
    counters = {name: value for name, value in body.items() if name.endswith(COUNTER)}  # missing in many files
    weights = counters | own
    problems = {
        "is missing": [name for name in body if name not in weights],
        "has unexpected": [name for name in weights if name not in body],
        "has another shape of": [name for name in weights if name in body and weights[name].shape != body[name].shape],
    }
    found = [f"{kind} {shorten(names)}" for kind, names in problems.items() if names]
    if found:
        raise UserError(f"{path} does not fit torchvision's ResNet-18: it {', '.join(found)}; {CHOICES}")
    return weights


def shorten(names: list[str]) -> str:
    """The first of `names` and the number of others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def imagenet_url() -> str:
    """The URL of torchvision's ImageNet weights; the file name ends with the first digits of the SHA-256."""
    return str(torchvision("models").ResNet18_Weights.IMAGENET1K_V1.url)


def download() -> Path:
    """Download torchvision's ImageNet weights into torch.hub's folder, unless they are there; return the file.

    Raises `UserError` if the download fails or the file has the wrong checksum.
    """
    url = imagenet_url()
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    checksum = path.stem.rpartition("-")[2]
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=checksum, progress=sys.stderr.isatty())
        except (OSError, HTTPException, RuntimeError) as error:
            raise UserError(
                f"cannot download the ImageNet weights ({str(error).splitlines()[0]}): put {path.name} from {url}"
                f" into {folder}, or {WITHOUT}"
            ) from None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(checksum):
        raise UserError(
            f"{path} is damaged or a different file: its SHA-256 does not start with {checksum};"
            f" remove it to download {url} again, or {WITHOUT}"
        )
    return path
