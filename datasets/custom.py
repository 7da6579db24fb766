"""A user's own images, or their features: a CSV names each with its target and, optionally, bias, split and `aligned`.

Protocols: `published` takes the splits as the CSV has them. `holdout` keeps one in eight training images of every group
for validation if the CSV has none; without a column `split` it first takes one in five images of every group as test.
`iid` does the same, but always keeps one in eight training images of every class, whatever their bias.
"""

from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from debiaslab.core.errors import UserError
from debiaslab.core.settings import between, choice, setting
from debiaslab.datasets.augmentation import Augmentation, CropAndFlip
from debiaslab.datasets.base import IMAGENET_STATISTICS, BiasedDataset, DatasetConfig, SelectionImages, Source
from debiaslab.datasets.cache import cache_folder, fingerprint
from debiaslab.datasets.class_folders import read_class_folders
from debiaslab.datasets.csv_columns import INFERRED_BIAS, REQUIRED, parse_columns
from debiaslab.datasets.csv_table import SPLITS, CSVTable, bias_columns, read_csv, with_bias_column
from debiaslab.datasets.features import MappedFeatures, read_features
from debiaslab.datasets.groups import share_of_every_group, usual_pairs, with_iid_validation
from debiaslab.datasets.image_decoding import BrokenImage
from debiaslab.datasets.pixels import MappedImages, mapped_images
from debiaslab.datasets.preprocessing import Normalization, Preparation, ResizedCenterCrop, Stretched
from debiaslab.datasets.splits import UNKNOWN_BIAS, ImagesOnFile, Split
from debiaslab.datasets.watermark import HELP as HELP_WATERMARK
from debiaslab.datasets.watermark import with_watermark

TEST_SHARE, VALID_SHARE = 1 / 5, 1 / 8  # of all images; of those that are left
PADDING = 4  # pixels, of the random crop
AUGMENTATIONS: dict[str, Augmentation | None] = {
    "crop_flip": CropAndFlip(PADDING),
    "crop": CropAndFlip(PADDING, flip=False),
    "none": None,
}
NORMALIZATIONS = {"imagenet": IMAGENET_STATISTICS, "none": None}


@dataclass(frozen=True, kw_only=True)
class Custom(DatasetConfig):
    SIZE = "0.15 MB for each image, decoded at 224 x 224; 4 bytes for each feature"

    cache: str | None = setting(None, "folder of the decoded images; None: <root>/cache", place=True)
    csv: str | None = setting(None, "CSV file that lists the images; required, or images", place=True, label=True)
    images: str | None = setting(
        None, "instead of a CSV, a folder with CLASS/* or {train,valid,test}/CLASS/*", place=True, label=True
    )
    columns: str | None = setting(
        None, "column names of the CSV, as in target=label,bias=gender+age (two bias columns)", before=None
    )
    features: str | None = setting(
        None,
        "instead of image files, a .npy file with the features of each row of the CSV: floats [rows, features]",
        place=True,
        label=True,
        before=None,
    )
    image_size: int | None = setting(224, "height and width of images, in pixels", between(1, 4096), unless="features")
    fit: str | None = setting(
        "stretch",
        "stretch: resize to a square; crop: keep the aspect ratio, resize and centre crop",
        choice(("stretch", "crop")),
        before="stretch",
        unless="features",
    )
    augment: str | None = setting(
        "crop_flip",
        "augmentation of training images: crop_flip, crop (for digits or text), none",
        choice(AUGMENTATIONS),
        unless="features",
    )
    normalize: str | None = setting(
        "imagenet",
        "imagenet: by ImageNet's mean and standard deviation; none: values in [0, 1]",
        choice(NORMALIZATIONS),
        unless="features",
    )
    watermark: bool = setting(False, HELP_WATERMARK, before=False)
    inferred_bias: bool = setting(
        False,
        "take the bias labels from the column bias_inferred, as written by `audit`",
        label="inferred bias",
        before=False,
    )

    def sources(self) -> list[Source]:
        if self.images is not None:
            content = "images in a folder for each class, or train, valid and test with these"
            return [Source(Path(self.images), content, "yours: docs/datasets/custom.md")]
        path = Path("data.csv=PATH" if self.csv is None else self.csv)
        content = "CSV with a line for each image: path, target and, optionally, bias, split, aligned"
        table = Source(path, content, "write it for your images: docs/datasets/custom.md has a complete example")
        if self.features is None:
            return [table]
        content = "features of each line of the CSV: floats [lines, features]"
        return [table, Source(Path(self.features), content, "write it with numpy.save: docs/datasets/custom.md")]

    def selection_images(self) -> SelectionImages:
        """What the CSV has, which is read with the images."""
        return SelectionImages(knows_bias=None, has_valid=None if self.protocol == "published" else True)

    def load(self) -> BiasedDataset:
        table = self.table()
        labels, class_names = table.labels("target")
        target = torch.tensor(labels)
        bias, bias_names, sizes = _bias(table)
        num_classes, num_biases = int(target.max()) + 1, prod(sizes)
        splits = self._splits(table, target, bias)
        _check_splits(table, splits, target, bias, class_names)
        aligned = aligned_pairs(table, splits["train"], target, bias, num_classes, num_biases)
        images = self.reader(table)
        parts = {name: Split(ImagesOnFile(images, rows), target[rows], bias[rows]) for name, rows in splits.items()}
        key = fingerprint(
            pixels=images.identity,
            splits={name: rows.tolist() for name, rows in splits.items()},
            labels=[target.tolist(), class_names, bias.tolist(), bias_names],
            aligned=aligned.tolist(),
        )
        note = f"bias labels: inferred by an audit (column {INFERRED_BIAS}), not known"
        data = BiasedDataset(
            name="custom",
            train=parts["train"],
            valid=parts.get("valid"),
            test=parts["test"],
            num_classes=num_classes,
            num_biases=num_biases,
            fingerprint=key,
            normalize=self.normalization(),
            prepare=self.preparation(),
            augment=None if self.augment is None else AUGMENTATIONS[self.augment],
            aligned=aligned,
            class_names=class_names,
            bias_names=bias_names,
            attribute_sizes=sizes if len(sizes) > 1 else None,
            notes=(*table.notes, note) if self.inferred_bias else table.notes,
        )
        data = self.with_watermark(data, images, splits["test"])
        return with_iid_validation(data, VALID_SHARE, self.seed) if self.protocol == "iid" else data

    def table(self) -> CSVTable:
        if self.images is not None:
            others = [name for name in ("csv", "columns", "features") if getattr(self, name) is not None]
            if others:
                other = others[0]
                raise UserError(
                    f"data.images={self.images} and data.{other}: classes come from folders or a CSV; drop one"
                )
            return with_bias_column(read_class_folders(Path(self.images)), self.inferred_bias)
        if self.csv is None:
            raise UserError(
                "custom needs your images: a CSV of them, data.csv=PATH, or a folder for each class, data.images=FOLDER"
                " (docs/datasets/custom.md)"
            )
        names = {} if self.columns is None else parse_columns(self.columns)
        required = REQUIRED if self.features is None else ("target",)
        return with_bias_column(read_csv(Path(self.csv), required, names=names), self.inferred_bias)

    def normalization(self) -> Normalization | None:
        return None if self.normalize is None else NORMALIZATIONS[self.normalize]

    def preparation(self) -> Preparation | None:
        size = self.image_size
        if size is None:
            return None
        return ResizedCenterCrop(size, size) if self.fit == "crop" else Stretched(size)

    def _splits(self, table: CSVTable, target: Tensor, bias: Tensor) -> dict[str, Tensor]:
        """The rows of each split, int64 [M]."""
        group = target * (int(bias.max()) + 2) + bias
        if "split" in table.columns:
            names = table.splits()
            rows = {name: torch.tensor([row for row, value in enumerate(names) if value == name]) for name in SPLITS}
            splits = {name: chosen for name, chosen in rows.items() if len(chosen)}
        elif self.protocol == "published":
            raise UserError(
                f"data.protocol=published takes the splits as they are, and {table.file} has no column split;"
                " add it, or use data.protocol=holdout"
            )
        else:
            test = share_of_every_group(group, TEST_SHARE, self.seed)
            rows = {"train": ~test, "test": test}
            splits = {name: chosen.nonzero()[:, 0] for name, chosen in rows.items() if bool(chosen.any())}
        if self.protocol == "iid":
            splits.pop("valid", None)
        if self.protocol == "holdout" and "valid" not in splits and "train" in splits:
            train = splits["train"]
            valid = share_of_every_group(group[train], VALID_SHARE, self.seed)
            splits |= {"train": train[~valid], "valid": train[valid]}
        return splits

    def with_watermark(self, data: BiasedDataset, images: MappedImages | MappedFeatures, test: Tensor) -> BiasedDataset:
        """`data`, if `watermark` with a test split for it; `test` int64 [M] are the rows of the test images."""
        if not self.watermark:
            return data
        if isinstance(images, MappedFeatures):
            raise UserError("data.watermark=True: a watermark is put onto images; leave it out with data.features")
        return with_watermark(data, cache_folder(self.root, self.cache), [images.files[row] for row in test.tolist()])

    def reader(self, table: CSVTable) -> MappedImages | MappedFeatures:
        """The features, or the decoded images. Raises `UserError` for missing, broken or unfitting ones."""
        prepare = self.preparation()
        if self.features is not None or prepare is None:
            return read_features(Path(str(self.features)), table)
        files = table.files()
        try:
            return mapped_images(cache_folder(self.root, self.cache), "custom", files, prepare)
        except BrokenImage as error:
            raise table.mistake(files.index(error.path), str(error)) from None


def _bias(table: CSVTable) -> tuple[Tensor, tuple[str, ...] | None, tuple[int, ...]]:
    """Bias labels int64 [N], the names of the biases, and the number of values of each attribute.

    With several attributes, a label stands for one combination of their values, in row-major order.
    """
    columns = bias_columns(table)
    if not any(map(table.has, columns)):
        return torch.full((len(table.columns["target"]),), UNKNOWN_BIAS), None, (1,)
    found = [table.labels(column) for column in columns]
    sizes = tuple(max(labels) + 1 for labels, _ in found)
    if len(found) == 1:
        return torch.tensor(found[0][0]), found[0][1], sizes
    bias, unknown = torch.zeros(len(found[0][0]), dtype=torch.int64), torch.zeros(len(found[0][0]), dtype=torch.bool)
    for (labels, _), size in zip(found, sizes, strict=True):
        values = torch.tensor(labels)
        bias, unknown = bias * size + values, unknown | (values == UNKNOWN_BIAS)
    values_of = [names or tuple(map(str, range(size))) for (_, names), size in zip(found, sizes, strict=True)]
    return bias.masked_fill(unknown, UNKNOWN_BIAS), tuple(map(", ".join, product(*values_of))), sizes


def _check_splits(
    table: CSVTable, splits: dict[str, Tensor], target: Tensor, bias: Tensor, class_names: tuple[str, ...] | None
) -> None:
    """Raise `UserError` for an empty split, a bias that only some images of a split have, a class without training."""
    for name in ("train", "test"):
        if name not in splits:
            advice = f"give some lines the split {name}" if "split" in table.columns else "add a column split"
            raise UserError(f"{table.file}: no image for the split {name}; {advice}")
    if "valid" in splits and len(splits["valid"]) == 0:
        raise UserError(f"{table.file}: too few training images to keep some for validation; add a column split")
    for name, rows in splits.items():
        require_bias_of_all_or_none(table, name, rows, bias)
    absent = set(target.tolist()) - set(target[splits["train"]].tolist())
    if absent:
        label = min(absent)
        name = label if class_names is None else class_names[label]
        raise UserError(f"{table.file}: no training image of target {name}; give some of its lines the split train")


def require_bias_of_all_or_none(table: CSVTable, split: str, rows: Tensor, bias: Tensor) -> None:
    """Raise `UserError` if only some of the `rows` of a split have a bias."""
    unknown = bias[rows] == UNKNOWN_BIAS
    if bool(unknown.any()) and not bool(unknown.all()):
        row = int(rows[unknown][0])
        raise table.mistake(row, f"no bias, but other images of the split {split} have one; give it for all or none")


def aligned_pairs(
    table: CSVTable, train: Tensor, target: Tensor, bias: Tensor, num_classes: int, num_biases: int
) -> Tensor:
    """The usual pairs: as the CSV says, or as they are in the training images; none where the bias is not known."""
    aligned = torch.zeros(num_classes, num_biases, dtype=torch.bool)
    if table.has("aligned"):
        if not table.has("bias"):
            raise UserError(f"{table.file}: aligned tells the usual pairs of target and bias; add a column bias")
        if len(bias_columns(table)) > 1:
            raise UserError(f"{table.file}: a column aligned needs a single bias column; remove one or the other")
        told = torch.tensor([bool(value) for value in table.aligned()])
        aligned[target[told], bias[told]] = True
    elif bool((bias[train] != UNKNOWN_BIAS).all()):
        aligned = usual_pairs(target[train], bias[train], num_classes, num_biases)
    return aligned
