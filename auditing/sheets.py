"""Contact sheets: images of a class side by side, as PNG."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from debiaslab.auditing.findings import Findings
from debiaslab.auditing.images import full_size_images
from debiaslab.core.files import atomic_write

MAX_IMAGES, COLUMNS = 25, 13  # per sheet
TILE, GAP = 64, 2  # pixels
MAX_CLASSES = 12  # with sheets: those with the most conflicting images
FOLDER = "sheets"


@dataclass(frozen=True)
class Sheet:
    """A contact sheet of class `label`: its title, file name and PNG content."""

    label: int
    title: str
    name: str
    content: bytes


def make_sheets(findings: Findings) -> list[Sheet]:
    """Sheets of each class: the most aligned training images, the most conflicting ones, clusters of the proposed."""
    images, score = findings.images, findings.scores.score
    sheets = []
    for label in select_classes(findings):
        members = (images.target[: images.num_train] == label).nonzero()[:, 0]
        order = members[score[members].argsort(stable=True)]
        sheets.append(_make_sheet(findings, label, "most aligned", "aligned", order))
        sheets.append(_make_sheet(findings, label, "most conflicting", "conflicting", order.flip(0)))
        clusters = findings.cluster[members]
        for number in range(int(clusters.max()) + 1 if len(clusters) else 0):
            in_cluster = members[clusters == number]
            in_cluster = in_cluster[score[in_cluster].argsort(descending=True, stable=True)]
            title = f"cluster {number}: {len(in_cluster):,} conflicting images, {_main_bias(findings, in_cluster)}"
            sheets.append(_make_sheet(findings, label, title, f"cluster{number}", in_cluster))
    return sheets


def select_classes(findings: Findings) -> list[int]:
    """The classes that get sheets, in increasing order."""
    size, num_classes = findings.images.num_train, findings.images.num_classes
    conflicting = findings.images.target[:size][findings.verdict.conflicting[:size]]
    counts = torch.bincount(conflicting, minlength=num_classes)
    return sorted(counts.argsort(descending=True, stable=True)[:MAX_CLASSES].tolist())


def write_sheets(folder: Path, sheets: list[Sheet]) -> None:
    """Write each sheet into `folder`/`FOLDER`, and remove those of an earlier audit."""
    names = {sheet.name for sheet in sheets}
    for earlier in (folder / FOLDER).glob("class*-*.png"):
        if earlier.name not in names:
            earlier.unlink()
    for sheet in sheets:
        with atomic_write(folder / FOLDER / sheet.name) as temporary:
            temporary.write_bytes(sheet.content)


def _main_bias(findings: Findings, members: Tensor) -> str:
    """The most frequent inferred bias of the images at `members` int64 [M], in words."""
    names = findings.images.class_names
    counts = torch.bincount(findings.verdict.inferred_bias[members], minlength=len(names))
    label = int(counts.argmax())
    return f"{int(counts[label]):,} of which look like {names[label]}"


def _make_sheet(findings: Findings, label: int, title: str, kind: str, rows: Tensor) -> Sheet:
    """A sheet of the first of the training images at `rows` int64 [M]."""
    tiles = [_make_tile(image) for image in full_size_images(findings.data, 0, rows[:MAX_IMAGES])]
    width, height = min(COLUMNS, max(1, len(tiles))), max(1, -(-len(tiles) // COLUMNS))  # in tiles
    sheet = Image.new("RGB", (width * (TILE + GAP) - GAP, height * (TILE + GAP) - GAP), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % COLUMNS * (TILE + GAP), number // COLUMNS * (TILE + GAP)))
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    return Sheet(label, title, f"class{label}-{kind}.png", content.getvalue())


def _make_tile(image: Tensor) -> Image.Image:
    """Fit an image, uint8 [1 or 3, height, width], into a white square of side `TILE`; small images stay pixelated."""
    picture = Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
    longest = max(picture.size)
    picture = picture.resize(
        (max(1, round(picture.width * TILE / longest)), max(1, round(picture.height * TILE / longest))),
        Image.Resampling.NEAREST if longest <= TILE else Image.Resampling.BOX,
    )
    tile = Image.new("RGB", (TILE, TILE), "white")
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return tile
