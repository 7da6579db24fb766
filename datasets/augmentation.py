"""Random changes of training images: of a whole batch at once, on the device that the images are on.

The random numbers come from outside, a row for each image, so that an image's change is a function of
(seed, epoch, image) alone, whatever the batch.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad


class Augmentation(Protocol):
    """A random change of images uint8 [B, channels, height, width]."""

    @property
    def num_draws(self) -> int:
        """How many random numbers the change of one image takes."""
        ...

    def __call__(self, images: Tensor, index: Tensor, draws: Tensor | None) -> Tensor:
        """The changed images, new tensors, of values in [0, 255] (uint8, or float32 where values are interpolated).

        `index` int64 [B] are their positions in the training split; `draws` float32 [B, num_draws] in [0, 1), None for
        the plain view, which is not random: what the images look like in an evaluation.
        """
        ...

    def to(self, device: torch.device) -> "Augmentation": ...


@dataclass(frozen=True)
class CropAndFlip:
    """A random crop of the original size from the image with `padding` black pixels around it, and a random flip.

    The flip is horizontal, for half of the images, if there is to be one; 0 `padding` leaves the crop out.
    """

    padding: int
    num_draws: int = 3
    flip: bool = True

    def __call__(self, images: Tensor, index: Tensor, draws: Tensor | None) -> Tensor:
        if draws is None:
            return images
        batch_size, channels, height, width = images.shape
        shift = (draws[:, :2] * (2 * self.padding + 1)).long()  # [B, 2], 0 to 2 * padding
        columns = torch.arange(width, device=images.device)
        flipped = torch.where(draws[:, 2:] < 0.5, columns.flip(0), columns) if self.flip else columns
        column = flipped + shift[:, 1:]  # [B, width]
        row = torch.arange(height, device=images.device) + shift[:, :1]  # [B, height]
        padded = pad(images, (self.padding,) * 4) if self.padding else images
        pixel = (row[:, :, None] * (width + 2 * self.padding) + column[:, None, :]).view(batch_size, 1, height * width)
        return padded.flatten(2).gather(2, pixel.expand(-1, channels, -1)).view(images.shape)

    def to(self, device: torch.device) -> "CropAndFlip":
        return self
