"""The plain convolutional networks of ReBias and EnD, whose kernel size is their receptive field."""

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from debiaslab.core.settings import all_positive, choice, odd, setting
from debiaslab.models.base import Architecture, Encoder, PoolingEncoder

LAST_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


@dataclass(frozen=True, kw_only=True)
class SimpleConv(Architecture):
    """SimpleConvNet (Bahng et al., ICML 2020): convolutions of one kernel size that keep the image's, then pooling.

    Each is followed by batch norm and ReLU; in EnD's network, the last one by batch norm and tanh. The role "g",
    ReBias's biased network, has kernels of `g_kernel` pixels; every other role, so each network of a method without
    that role, has kernels of `f_kernel` pixels.
    """

    widths: tuple[int, ...] = setting((16, 32, 64, 128), "channels of the convolutions", all_positive)
    f_kernel: int = setting(7, "pixels, height and width of the kernels", odd)
    g_kernel: int = setting(1, "the same of ReBias's biased network", odd)
    last_activation: str = setting(
        "relu", "of the features before pooling: relu (ReBias), tanh (EnD)", choice(LAST_ACTIVATIONS)
    )

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        kernel = self.g_kernel if role == "g" else self.f_kernel
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((image_shape[0], *self.widths)):
            layers += [nn.Conv2d(fan_in, fan_out, kernel, padding="same"), nn.BatchNorm2d(fan_out), nn.ReLU()]
        layers[-1] = LAST_ACTIVATIONS[self.last_activation]()
        return PoolingEncoder(nn.Sequential(*layers), self.widths[-1])
