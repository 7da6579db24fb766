"""Augmentation of training images: a whole batch at a time, on the device of the images.

Random numbers are passed in, a row for each image, so that an image's augmentation is a function of
(seed, epoch, image) alone, independent of the batch.
"""

from dataclasses import dataclass, replace
from math import log
from typing import Protocol

import numpy
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from debiaslab.core.memory import reused_memory


class Augmentation(Protocol):
    """A random transform of images uint8 [B, channels, height, width] or clips [B, channels, frames, height, width]."""

    @property
    def num_draws(self) -> int:
        """The number of random numbers per image."""
        ...

    def __call__(self, images: Tensor, index: Tensor, draws: Tensor | None) -> Tensor:
        """Return transformed copies, with values in [0, 255] (uint8, or float32 if values are interpolated).

        `index` int64 [B]: positions in the training split; `draws` float32 [B, num_draws] in [0, 1), or None for the
        deterministic view that is used in evaluation.
        """
        ...

    def to(self, device: torch.device) -> "Augmentation": ...


@dataclass(frozen=True)
class CropAndFlip:
    """A random crop of the original size after adding `padding` black pixels on each side, and a random flip.

    With `flip`, half of the images are flipped horizontally; with `padding` 0 there is no crop.
    """

    padding: int
    num_draws: int = 3
    flip: bool = True

    def __call__(self, images: Tensor, index: Tensor, draws: Tensor | None) -> Tensor:
        if draws is None:
            return images
        shift = (draws[:, :2] * (2 * self.padding + 1)).long()  # [B, 2], 0 to 2 * padding
        flip = draws[:, 2] < 0.5 if self.flip else torch.zeros(len(draws), dtype=torch.bool, device=draws.device)
        on_cpu = images.device.type == "cpu"
        return self._image_by_image(images, shift, flip) if on_cpu else self._all_at_once(images, shift, flip)

    def _image_by_image(self, images: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
        """Copy whole rows of pixels, which is several times faster on a CPU than gathering single pixels."""
        _, channels, height, width = images.shape
        padded = numpy.zeros((channels, height + 2 * self.padding, width + 2 * self.padding), dtype=numpy.uint8)
        middle = padded[:, self.padding : self.padding + height, self.padding : self.padding + width]
        changed = reused_memory(images.shape, images.dtype)
        changes = zip(images.numpy(), changed.numpy(), shift.tolist(), flip.tolist(), strict=True)
        for image, result, (top, left), flipped in changes:
            middle[:] = image
            crop = padded[:, top : top + height, left : left + width]
            result[:] = crop[:, :, ::-1] if flipped else crop
        return changed

    def _all_at_once(self, images: Tensor, shift: Tensor, flip: Tensor) -> Tensor:
        batch_size, channels, height, width = images.shape
        columns = torch.arange(width, device=images.device)
        column = torch.where(flip[:, None], columns.flip(0), columns) + shift[:, 1:]  # [B, width]
        row = torch.arange(height, device=images.device) + shift[:, :1]  # [B, height]
        padded = pad(images, (self.padding,) * 4) if self.padding else images
        pixel = (row[:, :, None] * (width + 2 * self.padding) + column[:, None, :]).view(batch_size, 1, height * width)
        return padded.flatten(2).gather(2, pixel.expand(-1, channels, -1)).view(images.shape)

    def to(self, device: torch.device) -> "CropAndFlip":
        return self


@dataclass(frozen=True)
class RandomResizedCropAndFlip:
    """A random crop resized to `size` x `size`, and a random horizontal flip, for images stretched to a common shape.

    `sizes` int [N, 2] are the (height, width) of the images before stretching: crops are boxes of the original images,
    drawn as in torchvision's RandomResizedCrop: a fraction of the area within `scale` and an aspect ratio within
    `ratio`, log-uniform; after `tries` boxes that do not fit into the image, the largest centre crop with an allowed
    aspect ratio. Half of the images are flipped. Interpolation is bilinear (float32) without antialiasing, as
    stretching has low-pass filtered the images already.

    The deterministic view is the centre square of `center` times the short side or, unless `square`, the centre box of
    `center` times both sides.
    """

    size: int
    sizes: Tensor
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    tries: int = 10
    center: float = 224 / 256
    square: bool = True

    @property
    def num_draws(self) -> int:
        return 2 * self.tries + 3  # area and aspect ratio of each box, position of the chosen one, flip

    def __call__(self, images: Tensor, index: Tensor, draws: Tensor | None) -> Tensor:
        sizes = self.sizes.index_select(0, index).float()
        if draws is None:
            sides = sizes.amin(dim=1, keepdim=True).expand(-1, 2) if self.square else sizes
            shape = sides * self.center
            return resized_crops(images, (sizes - shape) / 2 / sizes, shape / sizes, self.size)
        corner, shape = self.random_boxes(sizes, draws[:, :-1])
        return resized_crops(images, corner / sizes, shape / sizes, self.size, flip=draws[:, -1] < 0.5)

    def random_boxes(self, sizes: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Draw boxes: (top, left) and (height, width), float32 [B, 2] each, whole pixels of images of `sizes` [B, 2].

        `draws` [B, 2 * tries + 2] is in [0, 1).
        """
        share, position_in_ratio, position = torch.split(draws, [self.tries, self.tries, 2], dim=1)
        area = sizes.prod(dim=1, keepdim=True) * (self.scale[0] + (self.scale[1] - self.scale[0]) * share)
        low, high = (log(ratio) for ratio in self.ratio)
        ratio = torch.exp(low + (high - low) * position_in_ratio)
        boxes = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=2).round()  # [B, tries, 2]
        fits = ((boxes > 0) & (boxes <= sizes[:, None])).all(dim=2)
        first = fits.byte().argmax(dim=1)
        chosen = boxes[torch.arange(len(boxes), device=boxes.device), first]
        limit = torch.stack([sizes[:, 1] / self.ratio[0], sizes[:, 0] * self.ratio[1]], dim=1).round()
        largest = torch.minimum(sizes, limit)
        fitted = fits.any(dim=1, keepdim=True)
        corner = torch.where(fitted, position * (sizes - chosen + 1), (sizes - largest) / 2).floor()
        return corner, torch.where(fitted, chosen, largest)

    def to(self, device: torch.device) -> "RandomResizedCropAndFlip":
        return replace(self, sizes=self.sizes.to(device))


@dataclass(frozen=True)
class JitteredCropAndFlip:
    """Scale jitter, a random square crop of `crop` pixels, and a random horizontal flip, for images or clips.

    The image is scaled so that its short side is uniform in [`shortest`, `longest`] pixels. `sizes` int [N, 2] are the
    (height, width) of the training images before they were stretched to a common size: crops keep their aspect ratios.
    Half of the images are flipped. All frames of a clip get the same transform. The deterministic view is the largest
    centre square, in the size of the stretched image.
    """

    sizes: Tensor
    crop: int = 224
    shortest: int = 256
    longest: int = 320
    num_draws: int = 4

    def __call__(self, images: Tensor, index: Tensor, draws: Tensor | None) -> Tensor:
        sizes = self.sizes.index_select(0, index).float()
        square = sizes.amin(dim=1, keepdim=True) / sizes  # [B, 2], the largest square, as fractions of the sides
        if draws is None:
            return resized_crops(images, (1 - square) / 2, square, images.shape[-1])
        shape = square * self.crop / (self.shortest + (self.longest - self.shortest) * draws[:, :1])
        return resized_crops(images, draws[:, 1:3] * (1 - shape), shape, self.crop, flip=draws[:, 3] < 0.5)

    def to(self, device: torch.device) -> "JitteredCropAndFlip":
        return replace(self, sizes=self.sizes.to(device))


def resized_crops(images: Tensor, corner: Tensor, shape: Tensor, size: int, flip: Tensor | None = None) -> Tensor:
    """Crop a box from each image [B, C, H, W] or clip [B, C, T, H, W] and resize it to `size` x `size`: float32.

    `corner` (top, left) and `shape` (height, width), float32 [B, 2], are fractions of the image's height and width;
    crops where `flip`, bool [B], is True are flipped horizontally. All frames of a clip have the same box.
    """
    steps = (torch.arange(size, device=images.device) + 0.5) / size
    places = 2 * (corner[:, :, None] + shape[:, :, None] * steps) - 1  # in [-1, 1], the coordinates of grid_sample
    row, column = places.unbind(dim=1)  # [B, size] each
    if flip is not None:
        column = torch.where(flip[:, None], column.flip(1), column)
    grid = torch.stack([column[:, None, :].expand(-1, size, -1), row[:, :, None].expand(-1, -1, size)], dim=3)
    planes = images.flatten(1, -3).float()  # frames of a clip are treated as channels
    crops = grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return crops.view(*images.shape[:-2], size, size)
