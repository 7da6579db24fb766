"""Initial weights for encoders: a library's ImageNet weights, the user's own file, or those of a recorded run."""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.state_dicts import read_state
from debiaslab.core.vision import torchvision
from debiaslab.models.base import Architecture, Encoder
from debiaslab.models.library import LibraryEncoder, Published
from debiaslab.models.timm_networks import download_weights

NONE, IMAGENET = "none", "imagenet"  # the values of `model.pretrained` that name neither a file nor a run
CHOICES = "model.pretrained is imagenet, none, a file with the network's weights, or a recorded run (id or folder)"
COUNTER = "num_batches_tracked"
WITHOUT = "train from scratch with model.pretrained=none"
SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar")  # of files of weights


class InitialWeights(Protocol):
    """Weights that the encoder for a role can start from."""

    def load(self, encoder: Encoder, role: str) -> None:
        """Load them into `encoder`. Raises `UserError` if they cannot be read or do not fit."""


@dataclass(frozen=True)
class PublishedWeights:
    """The weights `source`, "imagenet" or a file, for all networks of libraries in an encoder."""

    source: str

    def load(self, encoder: Encoder, role: str) -> None:
        networks = [module for module in encoder.modules() if isinstance(module, LibraryEncoder)]
        if not networks:
            raise UserError(
                f"no file has weights for the {role!r} network: leave it out of model.hparams.pretrained_roles"
            )
        for network in networks:
            network.body.load_state_dict(read_weights(self.source, network))


@dataclass(frozen=True)
class RunWeights:
    """The `state` of the encoder that the classifier of the recorded run `run` has."""

    run: str
    state: Mapping[str, Tensor]

    def load(self, encoder: Encoder, role: str) -> None:
        found = mismatch(encoder.state_dict(), self.state)
        if found:
            raise UserError(
                f"model.pretrained={self.run}: the encoder of its classifier is another than the {role!r} network, it"
                f" {found}; choose the model of that run, or {WITHOUT}"
            )
        encoder.load_state_dict(dict(self.state))


def names_run(source: str) -> bool:
    """Whether the value `source` of `model.pretrained` means a recorded run."""
    path = Path(source)
    return source not in (NONE, IMAGENET) and not path.is_file() and path.suffix.lower() not in SUFFIXES


def named_run(source: str) -> str:
    """The id of the run that `source` means: its id, or its folder."""
    return os.path.basename(os.path.realpath(source))


def require_weights(name: str, architecture: Architecture, source: Any) -> None:
    """Raise `UserError` unless the networks of `architecture`, called `name`, can start from the weights `source`."""
    if not isinstance(source, str):
        raise UserError(f"model.pretrained={source!r}: {CHOICES}")
    if source != NONE and not (architecture.has_published_weights or names_run(source)):
        raise UserError(f"model.pretrained={source}: model {name} has no network that takes these weights; {WITHOUT}")


def read_weights(source: str, network: LibraryEncoder) -> dict[str, Tensor]:
    """Read the state dict of `network.body`, on the CPU.

    "imagenet" are the library's weights, which are downloaded into its folder if they are not there yet: torchvision's
    IMAGENET1K_V1, timm's for the name with its tag or the default one. Any other source is a file with a state dict of
    the network in the library (`core/state_dicts.py`). The last layer is left out. Raises `UserError` if the weights
    are missing, cannot be read or do not fit.
    """
    body, title = network.body.state_dict(), network.published.title
    names = tuple(name for name in body if not name.endswith(COUNTER))
    state = published_state(source, network.published, names)
    own = {name: value for name, value in state.items() if not name.startswith(network.published.head)}
    weights = {name: value for name, value in body.items() if name.endswith(COUNTER)} | own  # missing in many files
    found = mismatch(body, weights)
    if found:
        raise UserError(f"{source} does not fit {title}: it {found}; {CHOICES}")
    return weights


@lru_cache(maxsize=1)
def published_state(source: str, published: Published, names: tuple[str, ...]) -> Mapping[str, Tensor]:
    """Read the weights `source` for tensors with these `names`, as `read_weights`, and the last layer with them."""
    if source == IMAGENET and published.library == "timm":
        return download_weights(published, f"give a file of them with model.pretrained=FILE, or {WITHOUT}")
    return read_state(download(published.name) if source == IMAGENET else Path(source), names, CHOICES)


def mismatch(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """How the names and shapes of `found` differ from those `wanted`; empty if they do not."""
    problems = {
        "is missing": [name for name in wanted if name not in found],
        "has unexpected": [name for name in found if name not in wanted],
        "has another shape of": [name for name in found if name in wanted and found[name].shape != wanted[name].shape],
    }
    return ", ".join(f"{kind} {shorten(names)}" for kind, names in problems.items() if names)


def shorten(names: list[str]) -> str:
    """The first of `names` and the number of others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def imagenet_url(name: str) -> str:
    """The URL of torchvision's weights of its network `name`; the file name ends with digits of the SHA-256."""
    return str(torchvision("models").get_model_weights(name).IMAGENET1K_V1.url)


def download(name: str) -> Path:
    """Download torchvision's ImageNet weights of its network `name` into torch.hub's folder, unless they are there.

    Returns the file. Raises `UserError` if the download fails or the file has the wrong checksum.
    """
    url = imagenet_url(name)
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
