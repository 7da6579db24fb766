"""Any network of timm (PyTorch Image Models), without the last layer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from debiaslab.core.errors import UserError, suggestion
from debiaslab.core.extras import how_to_install
from debiaslab.core.settings import require, setting
from debiaslab.core.vision import torchvision
from debiaslab.models.base import Encoder
from debiaslab.models.library import BatchNormNetwork, LibraryEncoder, Published


def timm() -> ModuleType:
    """Import timm on first use. Raises `UserError` if it is not installed."""
    torchvision("models")  # timm imports torchvision, which must have been made to load
    try:
        import timm  # imported here: it comes with the extra timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError(f"model timm needs the package timm: {how_to_install('timm')}") from None
    return timm


def create(name: str, **options: Any) -> nn.Module:
    """Create the network `name` of timm without its last layer."""
    network: nn.Module = timm().create_model(name, num_classes=0, **options)
    return network


@dataclass(frozen=True, kw_only=True)
class Timm(BatchNormNetwork):
    """Any network of timm, with timm's defaults and as many features as its last layer takes."""

    name: str | None = setting(
        None, "name of the network in timm, with or without the tag of its weights, such as resnet50.a1_in1k"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.name is not None, "name", self.name, "the name of a network in timm, such as resnet50.a1_in1k")
        require_known_to_timm(str(self.name))

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        network = create(str(self.name), in_chans=image_shape[0])
        given: dict[str, Any] = getattr(network, "pretrained_cfg", {})
        layers = given.get("classifier") or ()
        head = tuple(f"{layer}." for layer in ([layers] if isinstance(layers, str) else layers))
        published = Published("timm", str(self.name), head, image_shape[0])
        features = count_features(network, str(self.name), image_shape, given.get("input_size"))
        fixed = self.frozen and self.fixed_statistics
        return LibraryEncoder(network, features, published, fixed=fixed).requires_grad_(not self.frozen)


def require_known_to_timm(name: str) -> None:
    """Raise `UserError`, with the closest name, unless timm has a network `name`."""
    networks, tagged = timm().list_models(), timm().list_pretrained()
    if name not in networks and name not in tagged:
        near = suggestion(name, tagged if "." in name else networks)
        raise UserError(f"model.hparams.name={name}: timm has no such network{near} timm.list_models() has all names")


@torch.no_grad()
def count_features(network: nn.Module, name: str, image_shape: tuple[int, ...], usual: Any) -> int:
    """The number of features that `network` computes for images of `image_shape`, found by trying.

    Raises `UserError` if it takes no such images, with the `usual` shape of its images.
    """
    network.eval()
    try:
        features: Tensor = network(torch.zeros(1, *image_shape))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        height, width = image_shape[1:]
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = f"it was made for {usual[1]}x{usual[2]}" if usual else "choose another"
        raise UserError(f"timm's {name} takes no images of {height}x{width} ({reason}); {advice}") from None
    finally:
        network.train()
    if features.dim() != 2:
        raise UserError(f"timm's {name} computes no features, but {list(features.shape)}; choose another network")
    return features.shape[1]


def download_weights(published: Published, fix: str) -> dict[str, Tensor]:
    """Read the weights that timm has for the network, which are downloaded into its cache if they are not there yet.

    Raises `UserError`, ending in `fix`, if there are none, or the download fails.
    """
    try:
        with quiet_downloads():
            network = create(published.name, pretrained=True, in_chans=published.channels)
    except Exception as error:  # timm and its downloads raise all kinds of errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"cannot get the weights of {published.title} ({reason}); {fix}") from None
    return network.state_dict()


@contextmanager
def quiet_downloads() -> Iterator[None]:
    """Silence the warnings of retried downloads within the block."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
