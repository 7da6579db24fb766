"""The plain convolutional networks of ReBias and EnD, whose kernel size sets the receptive field."""

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from debiaslab.core.settings import all_positive, choice, odd, setting
from debiaslab.models.base import Architecture, Encoder, PoolingEncoder

LAST_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


@dataclass(frozen=True, kw_only=True)
class SimpleConv(Architecture):
    """SimpleConvNet (Bahng et al., ICML 2020): same-padded convolutions of one kernel size, then pooling.

    Each convolution is followed by batch norm and ReLU; in EnD's network, the last one by batch norm and tanh. The role
    "g", ReBias's biased network, has kernels of `g_kernel` pixels; all other roles, and so all networks of methods
    without that role, have kernels of `f_kernel` pixels.
    """

    widths: tuple[int, ...] = setting((16, 32, 64, 128), "channels of the convolutions", all_positive)
    f_kernel: int = setting(7, "kernel size in pixels", odd)
    g_kernel: int = setting(1, "kernel size of ReBias's biased network in pixels", odd)
    last_activation: str = setting(
        "relu", "activation of the last convolution: relu (ReBias), tanh (EnD)", choice(LAST_ACTIVATIONS)
    )

    def encoder(self, role: str, image_shape: tuple[int, ...]) -> Encoder:
        kernel = self.g_kernel if role == "g" else self.f_kernel
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((image_shape[0], *self.widths)):
            layers += [nn.Conv2d(fan_in, fan_out, kernel, padding="same"), nn.BatchNorm2d(fan_out), nn.ReLU()]
        layers[-1] = LAST_ACTIVATIONS[self.last_activation]()
        return PoolingEncoder(nn.Sequential(*layers), self.widths[-1])
