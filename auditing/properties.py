"""Simple properties of images against their class: which of them alone tells the class, and whether that is chance.

A property is cut into `BINS` of equal numbers of images, or has the most frequent of its values. The mutual information
of bin and class is compared with that under random permutations of the classes, which is not 0: by chance, too, some
bins have more of a class than others.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from debiaslab.auditing.images import READ_AT_ONCE, AuditImages, decoded_files
from debiaslab.core.progress_bar import progress_bar
from debiaslab.core.randomness import numpy_generator
from debiaslab.datasets import Split

BINS = 8
PERMUTATIONS = 400
LARGEST_SAMPLE = 20_000  # images that the permutations are of
CAMERA_TAGS = (271, 272)  # EXIF: make, model
Integers = NDArray[numpy.int64]


@dataclass(frozen=True)
class Property:
    """A property and the class.

    bins: what each bin has; counts int64 [num_classes, num_bins]. information: mutual information in bits;
    by_chance: its mean under permutations; p_value: the share of permutations, and the observation, with as much.
    """

    name: str
    bins: tuple[str, ...]
    counts: Integers
    information: float
    by_chance: float
    p_value: float

    @property
    def share_of_entropy(self) -> float:
        """How much of the class's entropy it explains, beyond chance: 0 to 1."""
        of_class = self.counts.sum(axis=1) / self.counts.sum()
        entropy = -(of_class[of_class > 0] * numpy.log2(of_class[of_class > 0])).sum()
        return max(0.0, float((self.information - self.by_chance) / entropy)) if entropy else 0.0

    @property
    def right_guesses(self) -> float:
        """The share of the images whose class is the commonest of their bin."""
        return float(self.counts.max(axis=0).sum() / self.counts.sum())


def measure_properties(images: AuditImages, split: Split, seed: int) -> list[Property]:
    """The properties of the training images that are related to the class beyond chance, the closest first.

    `split`: the training images, which know the sizes of files. A property is left out if its p-value, times the number
    of properties, is above 0.05, and a file name's prefix if it is but another name of the class.
    """
    target = images.target[: images.num_train].numpy()
    binned = {name: in_bins(values) for name, values in _numbers(images, split).items()}
    binned |= {name: in_values(values) for name, values in _texts(images).items()}
    varied = {name: found for name, found in binned.items() if len(found[1]) > 1}
    measured = [
        relate(name, position, labels, target, images.num_classes, seed) for name, (position, labels) in varied.items()
    ]
    related = [found for found in measured if found.p_value * len(measured) <= 0.05 and not _is_class_name(found)]
    return sorted(related, key=lambda found: -found.share_of_entropy)


def relate(
    name: str, position: Integers, labels: Sequence[str], target: Integers, num_classes: int, seed: int
) -> Property:
    """Compare bins, of which each image has a `position`, with the classes int64 [N]."""
    generator = numpy_generator(seed, "audit", "permutations", name)
    observed = _table(position, target, len(labels), num_classes)
    sample = generator.permutation(len(target))[:LARGEST_SAMPLE]
    position, target = position[sample], target[sample]
    of_sample = mutual_information(_table(position, target, len(labels), num_classes))
    permuted = [
        mutual_information(_table(position, generator.permutation(target), len(labels), num_classes))
        for _ in range(PERMUTATIONS)
    ]
    as_much = sum(value >= of_sample for value in permuted)
    return Property(
        name,
        tuple(labels),
        observed,
        mutual_information(observed),
        float(numpy.mean(permuted)) * len(sample) / observed.sum(),  # chance falls as 1/N
        (1 + as_much) / (1 + PERMUTATIONS),
    )


def mutual_information(counts: Integers) -> float:
    """Of the rows and columns of a table of counts, in bits."""
    joint = counts / counts.sum()
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * numpy.log2(joint[there] / expected[there])).sum())


def in_bins(values: NDArray[numpy.float64]) -> tuple[Integers, tuple[str, ...]]:
    """(bin of each value, from-to of each bin): of equal numbers of images, as far as equal values allow."""
    edges = numpy.unique(numpy.quantile(values, numpy.linspace(0, 1, BINS + 1), method="lower"))
    inner = edges[1:-1] if len(edges) > 2 else edges[1:]
    position = numpy.searchsorted(inner, values, side="right")
    used, position = numpy.unique(position, return_inverse=True)
    starts = [values[position == number].min() for number in range(len(used))]
    ends = [values[position == number].max() for number in range(len(used))]
    names = [
        f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in zip(starts, ends, strict=True)
    ]
    return position.astype(numpy.int64), tuple(names)


def in_values(values: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
    """(number of each value, the values): the most frequent ones, all others as one."""
    frequent = [value for value, _ in Counter(values).most_common(BINS - 1)]
    names = [*frequent, *(["others"] if len(set(values)) > len(frequent) else [])]
    places = {value: place for place, value in enumerate(frequent)}
    return numpy.array([places.get(value, len(frequent)) for value in values]), tuple(names)


# ---- what is measured


def _numbers(images: AuditImages, split: Split) -> Mapping[str, NDArray[numpy.float64]]:
    found: dict[str, list[NDArray[numpy.float64]]] = {}
    for part in torch.split(images.small[: images.num_train], READ_AT_ONCE):
        for name, values in color_properties(part).items():
            found.setdefault(name, []).append(values)
    numbers = {name: numpy.concatenate(values) for name, values in found.items()}
    decoded = decoded_files(split)
    if decoded is not None:
        reader, places = decoded
        height, width = reader.sizes[places].double().numpy().T
        numbers |= {"pixels of the file": height * width, "width / height of the file": width / height}
    return numbers


def color_properties(images: Tensor) -> Mapping[str, NDArray[numpy.float64]]:
    """Name -> values float64 [B] of images uint8 [B, 1 or 3, height, width]."""
    pixels = images.double() / 255
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    brightness = pixels.mean(dim=1)
    largest, smallest = pixels.amax(dim=1), pixels.amin(dim=1)
    border = torch.cat([pixels[:, :, [0, -1]].flatten(2), pixels[:, :, :, [0, -1]].flatten(2)], dim=2).mean(dim=2)
    values = {
        "brightness": brightness.mean(dim=(1, 2)),
        "contrast": brightness.flatten(1).std(dim=1),
        "saturation": ((largest - smallest) / largest.clamp_min(1e-6)).mean(dim=(1, 2)),
        "hue in degrees": mean_hue(pixels),
        "border brightness": border.mean(dim=1),
        "border hue in degrees": mean_hue(border[:, :, None, None]),
    }
    return {name: value.numpy().round(4) for name, value in values.items()}


def mean_hue(pixels: Tensor) -> Tensor:
    """The mean hue in [0, 360) of images [B, 3, height, width] in [0, 1], each pixel as much as it is coloured."""
    red, green, blue = pixels.unbind(dim=1)
    # the hue is the angle of the colour in the plane across the grey axis
    across, along = (3**0.5) * (green - blue), 2 * red - green - blue
    angle = torch.atan2(across.mean(dim=(1, 2)), along.mean(dim=(1, 2)))
    return torch.rad2deg(angle) % 360


def _texts(images: AuditImages) -> Mapping[str, list[str]]:
    if images.files is None:
        return {}
    files = images.files[: images.num_train]
    headers = [
        _header(file) for file in progress_bar(files, len(files), f"reading the headers of {len(files):,} files")
    ]
    cameras, qualities = ([header[place] for header in headers] for place in (0, 1))
    return {
        "camera": cameras,
        "JPEG quantisation": qualities,
        "file name prefix": [prefix(file) for file in files],
    }


def _header(file: Path) -> tuple[str, str]:
    """(camera, mean of the JPEG quantisation table: the lower, the better), "none" each where there is none."""
    try:
        with Image.open(file) as image:
            exif = image.getexif()
            camera = " ".join(str(exif[tag]).strip("\0 ") for tag in CAMERA_TAGS if tag in exif)
            tables = getattr(image, "quantization", None)
    except (OSError, ValueError, SyntaxError):
        return "none", "none"
    quality = f"{numpy.mean(tables[0]):.0f}" if tables else "none"
    return camera or "none", quality


def prefix(file: Path) -> str:
    """The letters that a file name begins with."""
    found = re.match(r"[^\W\d_]*", file.stem)
    return found[0] if found and found[0] else "none"


def _is_class_name(found: Property) -> bool:
    """Whether a text goes with one class each and a class with one text: images are named by their class."""
    pairs = found.counts > 0
    one_to_one = bool((pairs.sum(axis=0) == 1).all() and (pairs.sum(axis=1) == 1).all())
    return found.name == "file name prefix" and one_to_one


def _table(position: Integers, target: Integers, num_bins: int, num_classes: int) -> Integers:
    counts = numpy.bincount(target * num_bins + position, minlength=num_classes * num_bins)
    return counts.reshape(num_classes, num_bins)
