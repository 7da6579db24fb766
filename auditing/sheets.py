"""Contact sheets: images of a class side by side, as PNG."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from debiaslab.auditing.findings import Findings
from debiaslab.auditing.images import full_images
from debiaslab.core.files import atomic_write

IMAGES, COLUMNS = 25, 13  # of a sheet, at most; side by side
TILE, GAP = 64, 2  # pixels
MOST_CLASSES = 12  # that have sheets: those with the most conflicting images
FOLDER = "sheets"


@dataclass(frozen=True)
class Sheet:
    """Images of the class `label`: what they are, the file's name, and its content."""

    label: int
    title: str
    name: str
    content: bytes


def make_sheets(found: Findings) -> list[Sheet]:
    """For each class: the most aligned training images, the most conflicting ones, and clusters of those proposed."""
    images, score = found.images, found.scores.score
    sheets = []
    for label in shown_classes(found):
        of_class = (images.target[: images.num_train] == label).nonzero()[:, 0]
        order = of_class[score[of_class].argsort(stable=True)]
        sheets.append(_sheet(found, label, "most aligned", "aligned", order[:IMAGES]))
        sheets.append(_sheet(found, label, "most conflicting", "conflicting", order.flip(0)[:IMAGES]))
        clusters = found.cluster[of_class]
        for number in range(int(clusters.max()) + 1 if len(clusters) else 0):
            members = of_class[clusters == number]
            members = members[score[members].argsort(descending=True, stable=True)]
            title = f"cluster {number}: {len(members):,} conflicting images, {_seen_as(found, members)}"
            sheets.append(_sheet(found, label, title, f"cluster{number}", members[:IMAGES]))
    return sheets


def shown_classes(found: Findings) -> list[int]:
    """The classes that have sheets, in order."""
    size, num_classes = found.images.num_train, found.images.num_classes
    counts = torch.bincount(found.images.target[:size][found.verdict.conflicting[:size]], minlength=num_classes)
    return sorted(counts.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist())


def write_sheets(folder: Path, sheets: list[Sheet]) -> None:
    """Write each as a file in `FOLDER`, where no sheet of an earlier audit stays."""
    kept = {sheet.name for sheet in sheets}
    for earlier in (folder / FOLDER).glob("class*-*.png"):
        if earlier.name not in kept:
            earlier.unlink()
    for sheet in sheets:
        with atomic_write(folder / FOLDER / sheet.name) as temporary:
            temporary.write_bytes(sheet.content)


def _seen_as(found: Findings, members: Tensor) -> str:
    names = found.images.class_names
    counts = torch.bincount(found.verdict.inferred_bias[members], minlength=len(names))
    most = int(counts.argmax())
    return f"{int(counts[most]):,} of them like {names[most]}"


def _sheet(found: Findings, label: int, title: str, kind: str, places: Tensor) -> Sheet:
    """`places` int64 [M], the images among those of training."""
    tiles = [_tile(image) for image in full_images(found.data, 0, places)]
    width, rows = min(COLUMNS, max(1, len(tiles))), -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (width * (TILE + GAP) - GAP, max(1, rows * (TILE + GAP) - GAP)), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % COLUMNS * (TILE + GAP), number // COLUMNS * (TILE + GAP)))
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    return Sheet(label, title, f"class{label}-{kind}.png", content.getvalue())


def _tile(image: Tensor) -> Image.Image:
    """An image uint8 [1 or 3, height, width] in a square of `TILE` pixels; small ones by whole pixels."""
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels)
    small = max(picture.size) <= TILE
    picture = picture.resize(
        tuple(max(1, round(side * TILE / max(picture.size))) for side in picture.size),  # type: ignore[arg-type]
        Image.Resampling.NEAREST if small else Image.Resampling.BOX,
    )
    tile = Image.new("RGB", (TILE, TILE), "white")
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return tile
