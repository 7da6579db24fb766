"""A user's own images, as a test makes them: scikit-learn's digits as files, and a CSV of them."""

from collections.abc import Callable
from pathlib import Path

import numpy
from PIL import Image
from sklearn.datasets import load_digits

SIZE = 12  # pixels that the tests stretch them to
NUM_IMAGES = 120
CLASSES = ("eight", "five", "three")  # of image 0, 1, 2, 3, ... in turn


def save_digits(folder: Path) -> None:
    """`<number>.png` of digits 8, 5 and 3, grey, 8 x 8 pixels."""
    bunch = load_digits()
    for position, digit in enumerate((8, 5, 3)):
        for number, image in enumerate(bunch.images[bunch.target == digit][: NUM_IMAGES // 3]):
            Image.fromarray((image * 15).astype(numpy.uint8)).save(folder / f"{3 * number + position}.png")


def write_csv(csv: Path, header: str, row: Callable[[int], str], count: int = NUM_IMAGES) -> Path:
    """A CSV of the images in the folder `images` beside it, with what `row` says of an image's number."""
    lines = [header, *(f"images/{number}.png,{row(number)}" for number in range(count))]
    csv.write_text("\n".join(lines) + "\n")
    return csv


def target(number: int) -> str:
    return CLASSES[number % 3]


def bias(number: int) -> str:
    """The colour of the class, but for every tenth image of it."""
    return ("red", "blue", "green")[(number % 3 + (number // 3 % 10 == 0)) % 3]


def split(number: int) -> str:
    return ("train", "train", "valid", "test")[number // 3 % 4]


def pictures(csv: Path) -> list[bytes]:
    """What the images must be decoded to, uint8 [3, SIZE, SIZE] each."""
    found = []
    for number in range(NUM_IMAGES):
        with Image.open(csv.parent / "images" / f"{number}.png") as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        found.append(numpy.asarray(resized).transpose(2, 0, 1).tobytes())
    return found
