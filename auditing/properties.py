"""Simple image properties, such as brightness, that are associated with the class.

Numbers are cut into `BINS` quantile bins; the bins of texts are their most frequent values. A permutation test compares
the mutual information of bin and class with that under random permutations of the classes, which is not 0 either: with
finitely many images, classes are never spread evenly over the bins.
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

from debiaslab.auditing.images import CHUNK, AuditImages, decoded_files
from debiaslab.core.progress_bar import progress_bar
from debiaslab.core.randomness import numpy_generator
from debiaslab.datasets import Split

BINS = 8
PERMUTATIONS = 400
MAX_SAMPLE = 20_000  # images in the permutation test
SIGNIFICANT = 0.05  # p-value, corrected for the number of properties (Bonferroni)
CAMERA_TAGS = (271, 272)  # EXIF: make, model
FILE_NAME_PREFIX = "file name prefix"
Integers = NDArray[numpy.int64]


@dataclass(frozen=True)
class Property:
    """The association of a property with the class.

    bins: label of each bin. counts: images, int64 [num_classes, num_bins]. information: mutual information in bits;
    by_chance: its mean under permutations of the classes. p_value: of the permutation test, uncorrected.
    """

    name: str
    bins: tuple[str, ...]
    counts: Integers
    information: float
    by_chance: float
    p_value: float

    @property
    def share_of_entropy(self) -> float:
        """The share of the class's entropy that it explains beyond chance, in [0, 1]."""
        of_class = self.counts.sum(axis=1) / self.counts.sum()
        entropy = -(of_class[of_class > 0] * numpy.log2(of_class[of_class > 0])).sum()
        return max(0.0, float((self.information - self.by_chance) / entropy)) if entropy else 0.0

    @property
    def accuracy(self) -> float:
        """The accuracy of predicting each image as the most frequent class of its bin."""
        return float(self.counts.max(axis=0).sum() / self.counts.sum())


def measure_properties(images: AuditImages, split: Split, seed: int) -> list[Property]:
    """The properties of the training images that are significantly associated with the class, the strongest first.

    `split` is the training split, which knows the sizes of the files. Constant properties are left out, and a file name
    prefix that merely repeats the class.
    """
    target = images.target[: images.num_train].numpy()
    binned = {name: bin_numbers(values) for name, values in _measure_numbers(images, split).items()}
    binned |= {name: bin_texts(values) for name, values in _read_texts(images).items()}
    measured = [
        measure_association(name, bin_of, labels, target, images.num_classes, seed)
        for name, (bin_of, labels) in binned.items()
        if len(labels) > 1
    ]
    significant = [
        each for each in measured if each.p_value * len(measured) <= SIGNIFICANT and not _repeats_class(each)
    ]
    return sorted(significant, key=lambda each: -each.share_of_entropy)


def measure_association(
    name: str, bin_of: Integers, labels: Sequence[str], target: Integers, num_classes: int, seed: int
) -> Property:
    """Measure how much `target`, int64 [N], depends on the bins of the images, `bin_of` int64 [N] (into `labels`)."""
    generator = numpy_generator(seed, "audit", "permutations", name)
    counts = _cross_tabulate(bin_of, target, len(labels), num_classes)
    sample = generator.permutation(len(target))[:MAX_SAMPLE]
    bin_of, target = bin_of[sample], target[sample]
    observed = mutual_information(_cross_tabulate(bin_of, target, len(labels), num_classes))
    permuted = [
        mutual_information(_cross_tabulate(bin_of, generator.permutation(target), len(labels), num_classes))
        for _ in range(PERMUTATIONS)
    ]
    as_high = sum(value >= observed for value in permuted)
    return Property(
        name,
        tuple(labels),
        counts,
        information=mutual_information(counts),
        by_chance=float(numpy.mean(permuted)) * len(sample) / counts.sum(),  # it decreases as 1/N
        p_value=(1 + as_high) / (1 + PERMUTATIONS),
    )


def mutual_information(counts: Integers) -> float:
    """Mutual information, in bits, of the row and the column of a contingency table."""
    joint = counts / counts.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * numpy.log2(joint[filled] / independent[filled])).sum())


def bin_numbers(values: NDArray[numpy.float64]) -> tuple[Integers, tuple[str, ...]]:
    """(bin of each value, range of each bin): quantile bins, of equal size as far as ties allow."""
    edges = numpy.unique(numpy.quantile(values, numpy.linspace(0, 1, BINS + 1), method="lower"))
    inner = edges[1:-1] if len(edges) > 2 else edges[1:]
    used, bin_of = numpy.unique(numpy.searchsorted(inner, values, side="right"), return_inverse=True)
    members = [values[bin_of == number] for number in range(len(used))]
    ranges = [(each.min(), each.max()) for each in members]
    labels = [f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in ranges]
    return bin_of.astype(numpy.int64), tuple(labels)


def bin_texts(values: Sequence[str]) -> tuple[Integers, tuple[str, ...]]:
    """(bin of each value, label of each bin): a bin for each of the most frequent values, and one for all others."""
    frequent = [value for value, _ in Counter(values).most_common(BINS - 1)]
    labels = [*frequent, *(["others"] if len(set(values)) > len(frequent) else [])]
    numbers = {value: number for number, value in enumerate(frequent)}
    return numpy.array([numbers.get(value, len(frequent)) for value in values]), tuple(labels)


# ---- the properties


def _measure_numbers(images: AuditImages, split: Split) -> Mapping[str, NDArray[numpy.float64]]:
    """Name -> values [num_train]."""
    parts: dict[str, list[NDArray[numpy.float64]]] = {}
    for pixels in torch.split(images.pixels[: images.num_train], CHUNK):
        for name, values in measure_colors(pixels).items():
            parts.setdefault(name, []).append(values)
    numbers = {name: numpy.concatenate(values) for name, values in parts.items()}
    decoded = decoded_files(split)
    if decoded is not None:
        reader, rows = decoded
        height, width = reader.sizes[rows].double().numpy().T
        numbers |= {"pixels of the file": height * width, "width / height of the file": width / height}
    return numbers


def measure_colors(images: Tensor) -> Mapping[str, NDArray[numpy.float64]]:
    """Name -> values float64 [B], for images uint8 [B, 1 or 3, height, width]; all but hues are in [0, 1]."""
    pixels = images.double() / 255
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    brightness = pixels.mean(dim=1)
    highest, lowest = pixels.amax(dim=1), pixels.amin(dim=1)
    border = torch.cat([pixels[:, :, [0, -1]].flatten(2), pixels[:, :, :, [0, -1]].flatten(2)], dim=2).mean(dim=2)
    values = {
        "brightness": brightness.mean(dim=(1, 2)),
        "contrast": brightness.flatten(1).std(dim=1, correction=0),
        "saturation": ((highest - lowest) / highest.clamp_min(1e-6)).mean(dim=(1, 2)),
        "hue in degrees": mean_hue(pixels),
        "border brightness": border.mean(dim=1),
        "border hue in degrees": mean_hue(border[:, :, None, None]),
    }
    return {name: value.numpy().round(4) for name, value in values.items()}


def mean_hue(pixels: Tensor) -> Tensor:
    """The mean hue [B] in degrees, [0, 360), of images [B, 3, height, width]; pixels are weighted by their chroma."""
    red, green, blue = pixels.unbind(dim=1)
    # hue is the angle of a colour's projection onto the plane orthogonal to the grey axis
    y, x = (3**0.5) * (green - blue), 2 * red - green - blue
    angle = torch.atan2(y.mean(dim=(1, 2)), x.mean(dim=(1, 2)))
    return torch.rad2deg(angle) % 360


def _read_texts(images: AuditImages) -> Mapping[str, list[str]]:
    """Name -> values of the training images; empty if images are not files."""
    if images.files is None:
        return {}
    Image.MAX_IMAGE_PIXELS = None  # only headers are read here; images were checked when they were decoded
    files = images.files[: images.num_train]
    headers = [_read_header(file) for file in progress_bar(files, len(files), f"reading {len(files):,} file headers")]
    cameras, qualities = zip(*headers, strict=True)
    return {
        "camera": list(cameras),
        "JPEG quantisation": list(qualities),
        FILE_NAME_PREFIX: [file_name_prefix(file) for file in files],
    }


def _read_header(file: Path) -> tuple[str, str]:
    """(camera, mean of the JPEG quantisation table: higher for lower quality), each "none" if there is none."""
    try:
        with Image.open(file) as image:
            exif = image.getexif()
            camera = " ".join(str(exif[tag]).strip("\0 ") for tag in CAMERA_TAGS if tag in exif)
            tables = getattr(image, "quantization", None)
    except Exception:  # damaged headers raise all kinds of errors; the pixels have been decoded without them
        return "none", "none"
    quality = f"{numpy.mean(tables[0]):.0f}" if tables else "none"
    return camera or "none", quality


def file_name_prefix(file: Path) -> str:
    """The letters at the beginning of the file name, or "none"."""
    found = re.match(r"[^\W\d_]*", file.stem)
    return found[0] if found and found[0] else "none"


def _repeats_class(measured: Property) -> bool:
    """Whether this is a file name prefix that names the class: one prefix for each class, and vice versa."""
    pairs = measured.counts > 0
    one_to_one = bool((pairs.sum(axis=0) == 1).all() and (pairs.sum(axis=1) == 1).all())
    return measured.name == FILE_NAME_PREFIX and one_to_one


def _cross_tabulate(bin_of: Integers, target: Integers, num_bins: int, num_classes: int) -> Integers:
    """The number of images of each class and bin, int64 [num_classes, num_bins]."""
    counts = numpy.bincount(target * num_bins + bin_of, minlength=num_classes * num_bins)
    return counts.reshape(num_classes, num_bins)
