"""CIFAR-10 as small folders of images, for tests. The pixels are those of the reference file."""

from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

from debiaslab.datasets.cifar10_images import CLASSES

GOLDEN = Path(__file__).parent.parent / "golden" / "protocol.npz"


def pictures(count: int) -> NDArray[numpy.uint8]:
    """uint8 [count, 3, 32, 32]; all different, up to 192."""
    with numpy.load(GOLDEN) as file:
        images = file["corruption/input"]
    turned = numpy.concatenate([images, images[:, ::-1], images[:, :, ::-1], images.transpose(0, 2, 1, 3)])
    assert count <= len(turned)
    return numpy.ascontiguousarray(turned[:count].transpose(0, 3, 1, 2))


def write_images(folder: Path, num_train: int, num_test: int) -> dict[tuple[str, str, int], NDArray[numpy.uint8]]:
    """`<folder>/{train,test}/<class>/000N.png`, so many of each class; returns them by (split, class, N)."""
    images = iter(pictures(10 * (num_train + num_test)))
    written = {}
    for split, number in (("train", num_train), ("test", num_test)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for index in range(number):
                written[split, name, index] = image = next(images)
                Image.fromarray(image.transpose(1, 2, 0)).save(folder / split / name / f"{index:04}.png")
    return written
