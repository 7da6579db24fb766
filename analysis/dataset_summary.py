"""Summarise a data set: its files, sizes and groups."""

from collections.abc import Iterator
from dataclasses import fields
from math import prod
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor

from debiaslab.analysis.samples import save_sample_grid
from debiaslab.core.console import new_table, printable
from debiaslab.core.errors import UserError
from debiaslab.core.files import require_writable
from debiaslab.datasets import BiasedDataset, DatasetConfig, Split
from debiaslab.datasets.base import UNKNOWN_LICENCE
from debiaslab.datasets.cache import cache_folder
from debiaslab.settings.setup import load_once

MAX_WIDTH = 80  # characters; wider group tables are abridged
MAX_ROWS = 20  # classes in a table
MAX_BIASES = 4  # per class in an abridged table
STYLES = {"there": "green", "missing": "bold red", "not there": "yellow"}
NO_STAR = "\u00a0"  # a space that a table does not strip


def summarize_dataset(name: str, config: DatasetConfig, folder: Path, memory_gb: float) -> Iterator[Any]:
    """Yield the parts of the summary of the data set `name`; writes a sample grid into `folder`.

    Raises `UserError` after the list of its files if some are missing, and for damaged ones.
    """
    sources = config.sources()
    yield source_list(name, config)
    missing = [source for source in sources if source.required and not source.is_there]
    if missing:
        what = "1 file or folder is" if len(missing) == 1 else f"{len(missing)} files or folders are"
        raise UserError(f"{what} missing for {name}; download what is listed as missing, and try again")
    require_writable(folder, "log_dir")
    data = load_once(config)
    yield split_table(data)
    yield group_table(data)
    yield facts_table(data, config, memory_gb)
    yield from data.notes
    if data.has_features:
        return
    picture = folder / f"inspect-{name}.png"
    save_sample_grid(picture, data)
    yield f"sample images: {picture}"


def source_list(name: str, config: DatasetConfig) -> Text:
    """List the sources of the data set: whether they exist, their content, and where to get them; licence and size."""
    sources = config.sources()
    text = Text(f"{name} is read from" if sources else f"{name} needs no files", "bold")
    indent = "\n" + " " * max(map(len, STYLES))
    for source in sources:
        status = "there" if source.is_there else "missing" if source.required else "not there"
        text.append(f"\n{status:{len(indent) - 1}}  ", STYLES[status])
        text.append(printable(str(source.path)))
        lines = [source.content] if source.is_there else [source.content, source.origin]
        text.append("".join(f"{indent}  {line}" for line in lines), "not bold")
    for kind, fact in {"licence": config.LICENCE or UNKNOWN_LICENCE, "size": config.SIZE}.items():
        text.append(f"\n{kind:{len(indent) - 1}}  {fact}", "not bold")
    return text


def split_table(data: BiasedDataset) -> Table:
    """The number of images in each split, and of bias-aligned and bias-conflicting ones."""
    table = new_table("images")
    for header in ("split", "images", "aligned", "conflicting"):
        table.add_column(header, justify="left" if header == "split" else "right")
    for name, split in data.splits().items():
        table.add_row(name, f"{len(split):,}", *_aligned_and_conflicting(data, split))
    return table


def group_table(data: BiasedDataset) -> Table:
    """Training images by target and bias; a wide table shows only the most frequent biases of each class."""
    shape = data.group_shape(data.train)
    counts = torch.bincount(data.groups(data.train), minlength=shape.numel()).view(shape)
    if not data.train.has_bias:
        return _class_table(data, counts)
    stars = [["*" if usual else NO_STAR for usual in row] for row in data.aligned_groups().tolist()]
    cells = [[f"{n:,}{star}" for n, star in zip(*row, strict=True)] for row in zip(counts.tolist(), stars, strict=True)]
    lines = [["target", *data.bias_labels()]]
    lines += [[label, *row] for label, row in zip(data.class_labels(), cells, strict=True)]
    if sum(3 + max(map(len, column)) for column in zip(*lines, strict=True)) > MAX_WIDTH:
        return _abridged_table(data, counts)
    starred = ", * bias-aligned" if data.tells_conflicting() else ""
    table = new_table(f"training images by target and bias{starred}")
    for position, header in enumerate(lines[0]):
        table.add_column(header, justify="right" if position else "left")
    for row in _rows(table, data):
        table.add_row(*lines[1 + row])
    return table


def facts_table(data: BiasedDataset, config: DatasetConfig, memory_gb: float) -> Table:
    """How images are preprocessed and stored, and their fingerprint."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    biases = (
        f"{data.num_biases} biases" if any(split.has_bias for split in data.splits().values()) else "no bias labels"
    )
    table.add_row("task", f"{data.num_classes} classes, {biases}")
    table.add_row("image", _input(data))
    if not data.has_features:
        table.add_row("normalisation", _normalization(data))
        table.add_row("augmentation", _augmentation(data))
    table.add_row("kept", _kept(data, memory_gb))
    table.add_row("cache", _cached(data.name, cache_folder(config.root, getattr(config, "cache", None))))
    table.add_row("fingerprint", data.fingerprint)
    return table


# ---- parts of the tables


def _input(data: BiasedDataset) -> str:
    channels, *sizes = data.train.image_shape
    if data.has_features:
        return f"{channels:,} features, computed by another network"
    frames = f"{sizes[0]} frames of " if len(sizes) == 3 else ""
    return f"{frames}{sizes[-1]} x {sizes[-2]} pixels, {channels} channels"


def _aligned_and_conflicting(data: BiasedDataset, split: Split) -> tuple[str, str]:
    if not data.tells_conflicting(split):
        return "-", "-"
    aligned = int(data.aligned_samples(split).sum())
    return f"{aligned:,}", f"{len(split) - aligned:,} ({100 * (1 - aligned / len(split)):.2f} %)"


def _rows(table: Table, data: BiasedDataset) -> Iterator[int]:
    """The classes to show in `table`; adds a last row with the number of others."""
    yield from range(min(MAX_ROWS, data.num_classes))
    if data.num_classes > MAX_ROWS:
        table.add_row(f"and {data.num_classes - MAX_ROWS} more classes", style="dim")


def _class_table(data: BiasedDataset, counts: Tensor) -> Table:
    table = new_table("training images of each class")
    table.add_column("target")
    table.add_column("images", justify="right")
    for row in _rows(table, data):
        table.add_row(data.class_labels()[row], f"{int(counts[row].sum()):,}")
    return table


def _abridged_table(data: BiasedDataset, counts: Tensor) -> Table:
    table = new_table(f"training images of each target, and their most frequent of {data.num_biases} biases")
    tells = data.tells_conflicting()
    for header in ("target", "images", *(["aligned", "conflicting"] if tells else []), "biases"):
        table.add_column(header, justify="left" if header in ("target", "biases") else "right")
    aligned = data.aligned_groups()
    for row in _rows(table, data):
        total, usual = int(counts[row].sum()), int(counts[row][aligned[row]].sum())
        most = counts[row].argsort(descending=True, stable=True)[:MAX_BIASES].tolist()
        listed = [
            f"{data.bias_labels()[bias]}{'*' if tells and aligned[row, bias] else ''}: {int(counts[row, bias]):,}"
            for bias in most
            if counts[row, bias]
        ]
        others = int((counts[row] > 0).sum()) - len(listed)
        biases = ", ".join([*listed, *([f"{others} more"] if others else [])])
        numbers = [f"{usual:,}", f"{total - usual:,}"] if tells else []
        table.add_row(data.class_labels()[row], f"{total:,}", *numbers, biases)
    return table


def _normalization(data: BiasedDataset) -> str:
    if data.normalize is None:
        return "values in [0, 1]"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in data.normalize)
    return f"values in [0, 1], less ({mean}), divided by ({std})"


def _augmentation(data: BiasedDataset) -> str:
    """The name of the augmentation and its settings, without tensors."""
    if data.augment is None:
        return "none"
    values = {field.name: getattr(data.augment, field.name) for field in fields(data.augment)}  # type: ignore[arg-type]
    shown = [
        f"{name} {value}" for name, value in values.items() if name != "num_draws" and not isinstance(value, Tensor)
    ]
    return " ".join([type(data.augment).__name__, f"({', '.join(shown)})" if shown else ""]).strip()


def _kept(data: BiasedDataset, memory_gb: float) -> str:
    splits = data.splits().values()
    value_bytes = 4 if data.has_features else 1
    size = _size(sum(len(split) * prod(split.image_shape) * value_bytes for split in splits))
    if not any(split.reader for split in splits):
        return f"in memory, {size}"
    if any(split.reader is not None and split.reader.num_draws for split in splits):
        return "on file, read on demand"
    fits = sum(split.file_bytes() for split in splits) <= memory_gb * 2**30
    where = "read into memory before training" if fits else "read on demand"
    return f"on file, {size}, {where} (memory_gb={memory_gb:g})"


def _cached(name: str, folder: Path) -> str:
    files = list(folder.glob(f"{name}[-_]*.safetensors"))
    if not files:
        return str(folder)
    size = _size(sum(file.stat().st_size for file in files))
    return f"{folder}: {size} of {name} in {len(files)} {'file' if len(files) == 1 else 'files'}, all variants"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
