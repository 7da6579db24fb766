"""Images of the user's own that trained weights are evaluated on: a CSV that needs no training images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from debiaslab.core.errors import UserError, one_of, suggestion
from debiaslab.datasets.base import BiasedDataset
from debiaslab.datasets.cache import fingerprint
from debiaslab.datasets.csv_table import INTEGER, CSVTable, bias_columns
from debiaslab.datasets.custom import Custom, aligned_pairs, require_bias_of_all_or_none
from debiaslab.datasets.splits import UNKNOWN_BIAS, ImagesOnFile, Split

SPLITS = ("valid", "test")


@dataclass(frozen=True)
class KnownLabels:
    """What labels mean to the weights: `classes` and `biases` by index, None where they are numbers.

    `aligned` bool [num_classes, num_biases] are the usual pairs of the training images.
    """

    classes: tuple[str, ...] | None
    biases: tuple[str, ...] | None
    aligned: Tensor


def load_test_rows(config: Custom, known: KnownLabels) -> BiasedDataset:
    """The validation and test images of the CSV of `config`, with the labels by the numbers that the weights have.

    All are test images where it has no column `split`; training images are left out. A bias that is not `known` gets
    the next number, and conflicts with all classes. Raises `UserError` for a CSV without test images, or with a class
    that is not known.
    """
    table = config.table()
    if len(bias_columns(table)) > 1:
        raise UserError(f"{table.file}: test images can have only one bias column; name it with data.columns=bias=A")
    num_classes = len(known.aligned)
    target = torch.tensor(_class_indices(table, known.classes, num_classes))
    bias, bias_names = _bias_indices(table, known)
    num_biases = max(known.aligned.shape[1], int(bias.max()) + 1)
    rows = _rows(table)
    for name, chosen in rows.items():
        require_bias_of_all_or_none(table, name, chosen, bias)
    if table.has("aligned"):
        aligned = aligned_pairs(table, rows["test"], target, bias, num_classes, num_biases)
    else:
        aligned = torch.zeros(num_classes, num_biases, dtype=torch.bool)
        aligned[:, : known.aligned.shape[1]] = known.aligned
    images = config.reader(table)
    parts = {name: Split(ImagesOnFile(images, chosen), target[chosen], bias[chosen]) for name, chosen in rows.items()}
    nothing = torch.empty(0, dtype=torch.int64)
    left_out = len(table) - sum(len(chosen) for chosen in rows.values())
    data = BiasedDataset(
        name="custom",
        train=Split(ImagesOnFile(images, nothing), nothing, nothing),
        valid=parts.get("valid"),
        test=parts["test"],
        num_classes=num_classes,
        num_biases=num_biases,
        fingerprint=fingerprint(
            pixels=images.identity,
            splits={name: chosen.tolist() for name, chosen in rows.items()},
            labels=[target.tolist(), known.classes, bias.tolist(), bias_names],
            aligned=aligned.tolist(),
        ),
        normalize=config.normalization(),
        prepare=config.preparation(),
        aligned=aligned,
        notes=(*table.notes, *[f"{table.file}: its {left_out:,} training images are left out"] * bool(left_out)),
        class_names=known.classes,
        bias_names=bias_names,
    )
    return config.with_watermark(data, images, rows["test"])


def _rows(table: CSVTable) -> dict[str, Tensor]:
    """The rows of each split, int64 [M]."""
    names = table.splits() if "split" in table.columns else ["test"] * len(table)
    rows = {split: [row for row, name in enumerate(names) if name == split] for split in SPLITS}
    if not rows["test"]:
        raise UserError(f"{table.file}: no image for the split test; give some lines the split test")
    return {split: torch.tensor(chosen) for split, chosen in rows.items() if chosen}


def _class_indices(table: CSVTable, classes: tuple[str, ...] | None, num_classes: int) -> list[int]:
    names = classes or tuple(map(str, range(num_classes)))
    numbers = {name: number for number, name in enumerate(names)}
    indices = []
    for row, value in enumerate(table.columns["target"]):
        if value not in numbers:
            raise table.mistake(
                row, f"target {value!r} is no class of the weights{suggestion(value, names)} one of {one_of(names)}"
            )
        indices.append(numbers[value])
    return indices


def _bias_indices(table: CSVTable, known: KnownLabels) -> tuple[Tensor, tuple[str, ...] | None]:
    """(int64 [N], names or None): `UNKNOWN_BIAS` where the CSV has none."""
    values = table.columns["bias"] if table.has("bias") else [""] * len(table)
    filled = {value for value in values if value}
    if known.biases is None and all(INTEGER.fullmatch(value) for value in filled):
        return torch.tensor([int(value) if value else UNKNOWN_BIAS for value in values]), None
    first = known.biases or ()
    names = (*first, *sorted(filled - {*first}))
    numbers = {name: number for number, name in enumerate(names)}
    return torch.tensor([numbers.get(value, UNKNOWN_BIAS) for value in values]), names
