"""Architectures, by name. Torch only, but for `ingredient.py`."""

from collections.abc import Mapping
from typing import Any

from core.errors import require_known
from core.settings import default_settings, settings
from models.base import Architecture, Classifier, Encoder, Networks
from models.convolutional import SimpleConv
from models.mlp import MLP, MLPBranches
from models.resnet import ResNet18, ResNet20

__all__ = ["MODELS", "Architecture", "Classifier", "Encoder", "Networks", "architecture", "default_model_hparams"]

MODELS: dict[str, type[Architecture]] = {
    "mlp": MLP,
    "mlp_branches": MLPBranches,
    "simple_conv": SimpleConv,
    "resnet20": ResNet20,
    "resnet18": ResNet18,
}


def architecture(name: str, hparams: Mapping[str, Any]) -> Architecture:
    """The checked settings of the architecture `name`; raises `UserError` for an unknown name or value."""
    require_known("model", name, MODELS)
    return settings(MODELS[name], hparams, "model.hparams.")


def default_model_hparams(name: str) -> dict[str, Any]:
    """The default settings of the architecture `name`."""
    require_known("model", name, MODELS)
    return default_settings(MODELS[name])
