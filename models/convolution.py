"""A faster convolution for small feature maps."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import linear


class Conv2d(nn.Conv2d):
    """nn.Conv2d that computes a one-pixel output as a matrix product with only the weights that overlap the input.

    This is the case in the last layers of a ResNet-18 on 32x32 images, where eight or five of a kernel's nine weights
    cover only padding. Libraries multiply by those as well, and take up to 24 times as long on a CPU.
    """

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if not self.makes_one_pixel((height, width)):
            return super().forward(image)
        top, left = (int(pad) for pad in self.padding)
        weight = self.weight[:, :, top : top + height, left : left + width]
        return linear(image.flatten(1), weight.flatten(1), self.bias)[:, :, None, None]

    def makes_one_pixel(self, sizes: Sequence[int]) -> bool:
        """Whether a map of `sizes` (height, width) fits within the kernel, and the kernel has only one position."""
        if self.groups > 1 or self.dilation != (1, 1) or isinstance(self.padding, str) or self.padding_mode != "zeros":
            return False
        sides = zip(sizes, self.kernel_size, self.stride, self.padding, strict=True)
        return all(pad + size <= kernel <= size + 2 * pad < kernel + stride for size, kernel, stride, pad in sides)


def with_small_maps(network: nn.Module) -> nn.Module:
    """Turn the convolutions of `network` into ours, in place: parameters and buffers stay the same."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Conv2d
    return network
