"""The reference style: how papers' code usually loads data, trains and evaluates small networks; our own code.

Worker processes transform one image at a time; Python loops over samples and classes; every step reads values from the
device; every branch takes its own pass over the test images.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from debiaslab.core.vision import torchvision
from debiaslab.datasets import Split

WORKERS = 2
TEST_BATCH = 256
FORK = "fork"  # Linux's default, named because the workers of a spawned process would be spawned too

Item = tuple[int, Tensor, int, int]  # index, image [C, H, W], target, bias
Items = tuple[Tensor, Tensor, Tensor, Tensor]  # of a batch


class ImageByImage(Dataset[Item]):
    """Transforms one image per access."""

    def __init__(self, split: Split, changes: Callable[[Image.Image], Tensor] | None = None) -> None:
        self.images = split.all_images().permute(0, 2, 3, 1).numpy()
        self.target, self.bias = split.target.numpy(), split.bias.numpy()
        self.transform = changes or torchvision("transforms").ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        image = self.transform(Image.fromarray(self.images[index]))
        return index, image, int(self.target[index]), int(self.bias[index])


def training_loader(
    split: Split, batch_size: int, changes: Callable[[Image.Image], Tensor] | None = None
) -> DataLoader[Any]:
    return DataLoader(
        ImageByImage(split, changes),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        multiprocessing_context=FORK,
    )


def endless(loader: DataLoader[Any]) -> Iterator[Items]:
    while True:
        yield from loader


class SampleMeter:
    """Accuracy per (target, bias) group, counted sample by sample."""

    def __init__(self, num_classes: int, num_biases: int) -> None:
        self.correct = numpy.zeros((num_classes, num_biases))
        self.total = numpy.zeros((num_classes, num_biases))

    def add(self, hits: Tensor, target: Tensor, bias: Tensor) -> None:
        for hit, target_class, bias_class in zip(hits.cpu(), target.cpu(), bias.cpu(), strict=True):
            self.correct[int(target_class), int(bias_class)] += int(hit)
            self.total[int(target_class), int(bias_class)] += 1

    def unbiased(self) -> float:
        return float((self.correct / numpy.maximum(self.total, 1)).mean())


@torch.no_grad()
def accuracy(logits: Callable[[Tensor], Tensor], split: Split, changes: Callable[[Image.Image], Tensor]) -> float:
    """Return the unbiased accuracy of one branch on all images of `split`, each transformed by `changes`."""
    loader: DataLoader[Any] = DataLoader(
        ImageByImage(split, changes), TEST_BATCH, num_workers=WORKERS, multiprocessing_context=FORK
    )
    meter = SampleMeter(10, 10)
    for _, image, target, bias in loader:
        meter.add(logits(image).argmax(dim=1) == target, target, bias)
    return meter.unbiased()


class ClassLoopEMA:
    """Running losses per sample, of LfF and DisEnt; the maximum of a class is found by a scan of all samples."""

    def __init__(self, target: Tensor, num_classes: int, decay: float) -> None:
        self.target, self.num_classes, self.decay = target.numpy(), num_classes, decay
        self.value = torch.zeros(len(target))
        self.seen = torch.zeros(len(target), dtype=torch.bool)

    def update(self, index: Tensor, loss: Tensor) -> None:
        old, fresh = self.value[index], ~self.seen[index]
        self.value[index] = torch.where(fresh, loss, self.decay * old + (1 - self.decay) * loss)
        self.seen[index] = True

    def normalized(self, index: Tensor, target: Tensor) -> Tensor:
        loss = self.value[index].clone()
        of_batch = target.cpu().numpy()
        for label in range(self.num_classes):
            members = numpy.where(of_batch == label)[0]
            loss[members] /= self.largest(label)
        return loss

    def largest(self, label: int) -> Tensor:
        return self.value[numpy.where(self.target == label)[0]].max()
