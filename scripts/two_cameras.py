"""Write the photographs of docs/tutorial.md: cars and horses of CIFAR-10, as if taken with two cameras.

    python -m scripts.two_cameras FOLDER

writes FOLDER/{train,test}/CLASS/*.jpg. Of the training images, nearly all cars were taken with the first camera and
nearly all horses with the second, whose white balance differs; of the test images, half of each class. Neither folders
nor file names tell the camera. FOLDER_cameras.csv does, of the test images, for the end of the tutorial.
"""

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

from debiaslab.core.errors import UserError
from debiaslab.datasets.cifar10 import IMAGE_FOLDER, batches_folder, cifar10
from debiaslab.datasets.cifar10_images import CLASSES
from debiaslab.datasets.image_files import image_files

Images = NDArray[numpy.uint8]  # [N, height, width, 3]
ByClass = Mapping[str, Images]

OURS = {"car": "automobile", "horse": "horse"}  # class -> CIFAR-10's name of it, in the order of the cameras
CAMERAS = {"warm": (1.0, 0.85, 0.6), "cold": (0.6, 0.85, 1.0)}  # gains of red, green and blue
GAIN_NOISE = 0.03  # standard deviation, from image to image
COUNTS = {"train": 2_500, "test": 500}  # images of each class
OTHER_CAMERA = {"train": 0.05, "test": 0.5}  # share of the images of a class


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.two_cameras", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder that has CIFAR-10, or is to get it")
    words = parser.parse_args(arguments)
    try:
        write_photographs(words.folder, read_cifar10(words.root))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_cifar10(root: Path) -> dict[str, ByClass]:
    """Split -> class -> images, from `root`; CIFAR-10 is downloaded if it is not there. Raises `UserError`."""
    if batches_folder(root) is None and (folder := root / IMAGE_FOLDER).is_dir():
        return {
            split: {name: read_images(folder / split / theirs, count) for name, theirs in OURS.items()}
            for split, count in COUNTS.items()
        }
    found: dict[str, ByClass] = {}
    for (split, count), (pixels, target) in zip(COUNTS.items(), cifar10(root, root / "cache").read(), strict=True):
        images = pixels.transpose(0, 2, 3, 1)
        found[split] = {name: images[target == CLASSES.index(theirs)][:count] for name, theirs in OURS.items()}
    return found


def read_images(folder: Path, count: int) -> Images:
    """The first `count` images of `folder`."""
    images = []
    for path in image_files(folder, levels=0)[:count]:
        with Image.open(path) as image:
            images.append(numpy.asarray(image.convert("RGB")))
    return numpy.stack(images)


def write_photographs(folder: Path, images: Mapping[str, ByClass]) -> None:
    """Write `images`, split -> class -> images, of two classes. Raises `UserError` if the folder exists."""
    if folder.exists():
        raise UserError(f"{folder} exists; remove it, or give another folder")
    generator = numpy.random.default_rng(0)
    cameras = list(CAMERAS)
    rows = []
    for split, by_class in images.items():
        for own, (name, pixels) in zip(cameras, by_class.items(), strict=True):
            (folder / split / name).mkdir(parents=True)
            for number, image in enumerate(pixels):
                others = [camera for camera in cameras if camera != own]
                camera = generator.choice(others) if generator.random() < OTHER_CAMERA[split] else own
                gains = numpy.array(CAMERAS[camera]) * generator.normal(1, GAIN_NOISE, size=3)
                path = f"{split}/{name}/{number:04}.jpg"
                photograph = (image * gains).clip(0, 255).astype(numpy.uint8)
                Image.fromarray(photograph).save(folder / path, quality=95)
                if split == "test":
                    rows.append([f"{folder.name}/{path}", name, camera, int(camera == own)])
    with folder.with_name(f"{folder.name}_cameras.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "target", "bias", "aligned"], *rows])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
