"""Convolutions of feature maps that have become small."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import linear


class Conv2d(nn.Conv2d):
    """nn.Conv2d; where the result is one pixel, as the product of the map with the weights that see it.

    So it is in the last layers of a ResNet-18 on images of 32x32 pixels: of a kernel's nine weights, eight or five see
    nothing but padding there. Libraries multiply those, too, and on a CPU take up to 24 times as long.
    """

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if not self.makes_one_pixel((height, width)):
            return super().forward(image)
        top, left = (int(pad) for pad in self.padding)
        weight = self.weight[:, :, top : top + height, left : left + width]
        return linear(image.flatten(1), weight.flatten(1), self.bias)[:, :, None, None]

    def makes_one_pixel(self, sizes: Sequence[int]) -> bool:
        """Whether a map of `sizes`, (height, width), lies within the kernel, and the kernel has no other place."""
        if self.groups > 1 or self.dilation != (1, 1) or isinstance(self.padding, str) or self.padding_mode != "zeros":
            return False
        sides = zip(sizes, self.kernel_size, self.stride, self.padding, strict=True)
        return all(pad + size <= kernel <= size + 2 * pad < kernel + stride for size, kernel, stride, pad in sides)


def with_small_maps(network: nn.Module) -> nn.Module:
    """The same network, its convolutions ours: they have nothing that PyTorch's do not have."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Conv2d
    return network
