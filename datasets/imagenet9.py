"""9-class ImageNet (Bahng et al., ICML 2020): 42 ImageNet synsets in nine classes; the bias is texture.

The training images are ImageNet's for these synsets, without bias labels. The test images are ImageNet's validation
images; their bias labels are texture clusters (`texture.py`), so that "accuracy" is the paper's biased accuracy, and
"unbiased" its unbiased accuracy: a mean over the (class, cluster) cells of at least 10 images, then over three
clusterings. Additional test splits: `imagenet_a`, natural adversarial examples (Hendrycks et al., CVPR 2021),
and `imagenet_c_<corruption>`, corrupted validation images (Hendrycks & Dietterich, ICLR 2019), all severities combined.

Protocols: `published` has no validation images (the paper reports the last epoch); `holdout` and `iid` hold out a
tenth of the training images of every synset for validation.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.program import program_name
from debiaslab.core.randomness import torch_generator
from debiaslab.core.settings import between, setting
from debiaslab.datasets.augmentation import RandomResizedCropAndFlip
from debiaslab.datasets.base import IMAGENET_STATISTICS, BiasedDataset, DatasetConfig, SelectionImages, Source
from debiaslab.datasets.cache import cache_folder, fingerprint
from debiaslab.datasets.pixels import mapped_images
from debiaslab.datasets.preprocessing import Preparation, ResizedCenterCrop, Stretched
from debiaslab.datasets.splits import UNKNOWN_BIAS, ImagesOnFile, Split
from debiaslab.datasets.texture import (
    NUM_CLUSTERINGS,
    NUM_CLUSTERS,
    VGG16,
    as_bias,
    first_layers,
    read_clusters,
    texture_clusters,
    vgg16_file,
)
from debiaslab.datasets.watermark import HELP as HELP_WATERMARK
from debiaslab.datasets.watermark import with_watermark

VERSION = 1  # increment it whenever the result changes
HELD_OUT = 0.1  # fraction of the training images of every synset that `holdout` validates on
MIN_CELL = 10  # minimum number of images of a (class, cluster) cell
SEVERITIES = range(1, 6)
CORRUPTED = "imagenet_c_"  # prefix of the splits of ImageNet-C
BENCHMARK = (  # the corruptions to average over; ImageNet-C has four more
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
HELP = f"for what to get and where to put it, run `{program_name()} inspect with imagenet9` with your data.root="

_listing = json.loads(Path(__file__).with_suffix(".json").read_text())
SYNSETS: dict[str, list[str]] = _listing["synsets"]  # of each class, in the order of the class indices
CLASSES = tuple(SYNSETS)
CLASS_OF: dict[str, int] = {synset: index for index, name in enumerate(CLASSES) for synset in SYNSETS[name]}
IMAGENET_A: list[str] = _listing["imagenet_a"]  # the synsets that ImageNet-A has


@dataclass(frozen=True, kw_only=True)
class ImageNet9(DatasetConfig):
    SIZE = "ImageNet is 145 GB to download; of its 1,000 synsets 42 are used, 12 GB decoded"
    LICENCE = "for non-commercial research and education only (the terms of ImageNet)"
    cache: str | None = setting(None, "folder of the decoded images; None: <root>/cache", place=True)
    imagenet: str = setting("imagenet", "folder of ImageNet's train/ and val/, in root or absolute", place=True)
    imagenet_a: str | None = setting(None, "folder of ImageNet-A, in root or absolute; None: not evaluated", place=True)
    imagenet_c: str | None = setting(None, "folder of ImageNet-C, in root or absolute; None: not evaluated", place=True)
    image_size: int = setting(224, "height and width of the network's input, in pixels", between(1, 4096))
    clusters: str = setting(
        "vgg16",
        "texture clusters, the bias labels: vgg16 (computed here), none, or the CSV file of the ReBias code",
        published=False,
    )
    watermark: bool = setting(False, HELP_WATERMARK, before=False)
    vgg16: str | None = setting(None, "file of torchvision's VGG-16 weights; None: downloaded", place=True)

    @property
    def folders(self) -> dict[str, Path]:
        """The folders of images, by setting."""
        given = {"imagenet": self.imagenet, "imagenet_a": self.imagenet_a, "imagenet_c": self.imagenet_c}
        return {name: Path(self.root) / folder for name, folder in given.items() if folder is not None}

    def sources(self) -> list[Source]:
        folders = self.folders
        imagenet = "https://image-net.org, ILSVRC 2012, after registration"
        found = [
            Source(folders["imagenet"] / "train", "ImageNet's training images, a folder for each synset", imagenet),
            Source(folders["imagenet"] / "val", "ImageNet's validation images, a folder for each synset", imagenet),
        ]
        if self.clusters == "vgg16":
            path = vgg16_file() if self.vgg16 is None else Path(self.vgg16)
            found.append(
                Source(
                    path,
                    "torchvision's VGG-16, for the texture clusters",
                    f"downloaded from {VGG16} when it is first needed",
                    self.vgg16 is not None,
                )
            )
        elif self.clusters != "none":
            origin = "https://github.com/clovaai/rebias, clusters/9class_imagenet_val.csv"
            found.append(Source(Path(self.clusters), "the authors' texture clusters", origin))
        if "imagenet_a" in folders:
            origin = "https://github.com/hendrycks/natural-adv-examples"
            found.append(Source(folders["imagenet_a"], "ImageNet-A, a folder for each synset", origin))
        if "imagenet_c" in folders:
            content = "ImageNet-C, <corruption>/<severity>/<synset>/*, or with noise/, blur/, ... above"
            found.append(Source(folders["imagenet_c"], content, "https://github.com/hendrycks/robustness"))
        return found

    def selection_images(self) -> SelectionImages:
        """The authors' clusters cover the test images only."""
        published = self.protocol == "published"
        knows_bias = self.clusters == "vgg16" or (self.clusters != "none" and published)
        return SelectionImages(knows_bias, has_valid=not published)

    def load(self) -> BiasedDataset:
        listings = self._listings()
        held_out = self._held_out(listings["train"])
        if held_out.any():
            listings["valid"] = listings["train"].select(held_out)
        cache = cache_folder(self.root, self.cache)
        weights = first_layers(self.vgg16, cache) if self.clusters == "vgg16" else None
        clusters = self._published_clusters(listings["test"])
        images = {
            name: mapped_images(cache, f"imagenet9_{name}", listing.files, self.preparation(name))
            for name, listing in listings.items()
        }
        if weights is not None:
            evaluated = [name for name in ("valid", "test") if name in images]
            clusters = {name: texture_clusters(images[name], weights, cache) for name in evaluated}
        splits = {
            name: Split(
                ImagesOnFile(images[name], torch.arange(len(target))), target, _bias(clusters.get(name), len(target))
            )
            for name, target in ((name, listing.target) for name, listing in listings.items())
        }
        kept = (~held_out).nonzero()[:, 0]
        num_biases = NUM_CLUSTERS**NUM_CLUSTERINGS
        extra = {name: split for name, split in splits.items() if name.startswith("imagenet_")}
        averaged = tuple(name for name in extra if name.removeprefix(CORRUPTED) in BENCHMARK)
        data = BiasedDataset(
            name="imagenet9",
            train=splits["train"].select(kept),
            valid=splits.get("valid"),
            test=splits["test"],
            num_classes=len(CLASSES),
            num_biases=num_biases,
            fingerprint=fingerprint(
                version=VERSION,
                images={name: reader.identity for name, reader in images.items()},
                clusters={name: labels.tolist() for name, labels in clusters.items()},
            ),
            extra=extra,
            normalize=IMAGENET_STATISTICS,
            prepare=self.preparation("test"),
            augment=RandomResizedCropAndFlip(self.image_size, images["train"].sizes.index_select(0, kept)),
            aligned=torch.zeros(len(CLASSES), num_biases, dtype=torch.bool),
            attribute_sizes=(NUM_CLUSTERS,) * NUM_CLUSTERINGS,
            min_group=MIN_CELL,
            class_names=CLASSES,
            means={f"{CORRUPTED}mean": averaged} if averaged else {},
            notes=tuple(missing_severities(listings, averaged)),
        )
        return with_watermark(data, cache, listings["test"].files) if self.watermark else data

    def _listings(self) -> dict[str, "Listing"]:
        """The images of each split; "train" includes images that will be held out."""
        folders = self.folders
        listings = {
            "test": list_images(folders["imagenet"] / "val", CLASS_OF),
            "train": list_images(folders["imagenet"] / "train", CLASS_OF),
        }
        if "imagenet_a" in folders:
            listings["imagenet_a"] = list_images(folders["imagenet_a"], IMAGENET_A)
        if "imagenet_c" in folders:
            listings |= list_corrupted(folders["imagenet_c"])
        return listings

    def preparation(self, name: str) -> Preparation:
        """How the images of a split are resized to a common size."""
        resize = round(self.image_size * 256 / 224)
        if name == "train":
            return Stretched(resize)
        has_been_cropped = name.startswith(CORRUPTED)
        return ResizedCenterCrop(self.image_size if has_been_cropped else resize, self.image_size)

    def _held_out(self, train: "Listing") -> Tensor:
        """bool [N], True for the training images to hold out for validation: a fraction of every synset."""
        chosen = torch.zeros(len(train.files), dtype=torch.bool)
        if self.protocol == "published":
            return chosen
        members_of: dict[str, list[int]] = {}
        for index, file in enumerate(train.files):
            members_of.setdefault(file.parent.name, []).append(index)
        for synset, positions in members_of.items():
            members = torch.tensor(positions)
            if len(members) == 1:
                raise UserError(f"{train.root / synset} has one image, too few to keep any for validation")
            order = torch.randperm(len(members), generator=torch_generator(self.seed, "hold out", synset))
            chosen[members[order[: max(1, round(len(members) * HELD_OUT))]]] = True
        return chosen

    def _published_clusters(self, test: "Listing") -> dict[str, Tensor]:
        """Read the clusters of the test images, by split, from the CSV file `clusters`."""
        if self.clusters in ("vgg16", "none"):
            return {}
        images = [(file.relative_to(test.root).as_posix(), CLASSES[CLASS_OF[file.parent.name]]) for file in test.files]
        return {"test": read_clusters(self.clusters, images)}


def _bias(clusters: Tensor | None, size: int) -> Tensor:
    return torch.full((size,), UNKNOWN_BIAS) if clusters is None else as_bias(clusters)


# ---- folders


@dataclass(frozen=True)
class Listing:
    """Image files below `root`, each in a folder named after its synset."""

    root: Path
    files: list[Path]

    @property
    def target(self) -> Tensor:
        return torch.tensor([CLASS_OF[file.parent.name] for file in self.files])

    def select(self, chosen: Tensor) -> "Listing":
        """The files for which `chosen`, bool [N], is True."""
        return Listing(self.root, [file for file, keep in zip(self.files, chosen.tolist(), strict=True) if keep])


def list_images(folder: Path, synsets: Iterable[str]) -> Listing:
    """List all images of `<folder>/<synset>/*`, sorted. Raises `UserError`, naming synsets without images."""
    names = sorted(synsets)
    files = {name: _files(folder / name) for name in names}
    missing = [name for name in names if not files[name]]
    if len(missing) == len(names):
        raise UserError(f"{folder} has none of the {len(names)} synset folders that are needed; {HELP}")
    if missing:
        raise UserError(f"{folder} lacks {len(missing)} of {len(names)} synsets: {', '.join(missing)}; {HELP}")
    return Listing(folder, [file for name in names for file in files[name]])


def list_corrupted(folder: Path) -> dict[str, Listing]:
    """List the images of ImageNet-C in `folder`: "imagenet_c_<corruption>" -> images of all severities.

    The folders of corruptions may be inside folders of categories. A severity without a folder is skipped, and reported
    by `missing_severities`. Raises `UserError` for missing synsets.
    """
    found: dict[str, list[Path]] = {}
    for severity in SEVERITIES:
        for path in sorted([*folder.glob(f"*/{severity}"), *folder.glob(f"*/*/{severity}")]):
            found.setdefault(f"{CORRUPTED}{path.parent.name}", []).extend(list_images(path, CLASS_OF).files)
    if not found:
        raise UserError(f"{folder} has no folders <corruption>/<severity>/<synset>; {HELP}")
    return {name: Listing(folder, files) for name, files in sorted(found.items())}


def missing_severities(listings: Mapping[str, "Listing"], averaged: Sequence[str]) -> list[str]:
    """A note for each corruption that lacks a severity, and for the mean if one of `averaged` does."""
    notes = {}
    for name, listing in listings.items():
        there = (
            {int(file.parent.parent.name) for file in listing.files} if name.startswith(CORRUPTED) else {*SEVERITIES}
        )
        if missing := sorted({*SEVERITIES} - there):
            notes[name] = f"{name}: without severity {', '.join(map(str, missing))}, which has no folder"
    incomplete = [name for name in averaged if name in notes]
    mean = [f"{CORRUPTED}mean: {', '.join(incomplete)} without some severities"] if incomplete else []
    return [*notes.values(), *mean]


def _files(folder: Path) -> list[Path]:
    """The files in `folder` that are not hidden, sorted; empty if it does not exist."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.is_file() and entry.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; check its permissions") from None
