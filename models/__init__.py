"""The architectures, by name. Needs torch only."""

from collections.abc import Mapping
from typing import Any

from debiaslab.core.errors import require_known
from debiaslab.core.settings import default_settings, settings
from debiaslab.models.bagnet import BagNet18, ResNet18BagNet18
from debiaslab.models.base import Architecture, Encoder
from debiaslab.models.branches import ConvBranches
from debiaslab.models.convolutional import SimpleConv
from debiaslab.models.linear import Linear
from debiaslab.models.mlp import MLP, MLPBranches
from debiaslab.models.networks import Classifier, Networks
from debiaslab.models.resnet import ResNet18, ResNet20, ResNet50
from debiaslab.models.timm_networks import Timm
from debiaslab.models.torchvision_networks import ConvNeXtTiny, ViTB16
from debiaslab.models.video import ResNet3D

__all__ = ["MODELS", "Architecture", "Classifier", "Encoder", "Networks", "architecture", "default_model_hparams"]

MODELS: dict[str, type[Architecture]] = {
    "linear": Linear,
    "mlp": MLP,
    "mlp_branches": MLPBranches,
    "conv_branches": ConvBranches,
    "simple_conv": SimpleConv,
    "resnet20": ResNet20,
    "resnet18": ResNet18,
    "resnet50": ResNet50,
    "vit_b_16": ViTB16,
    "convnext_tiny": ConvNeXtTiny,
    "timm": Timm,
    "bagnet18": BagNet18,
    "resnet18_bagnet18": ResNet18BagNet18,
    "resnet18_3d": ResNet3D,
}
WITHOUT_CONVOLUTIONS = ("linear", "mlp", "mlp_branches")


def architecture(name: str, hparams: Mapping[str, Any]) -> Architecture:
    """Build the architecture `name` from `hparams`; raises `UserError` for an unknown name or an invalid value."""
    require_known("model", name, MODELS)
    return settings(MODELS[name], hparams, "model.hparams.")


def default_model_hparams(name: str) -> dict[str, Any]:
    """The default settings of the architecture `name`."""
    require_known("model", name, MODELS)
    return default_settings(MODELS[name])
