"""Accuracy of every (target, bias) group, as a heat map for each method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import pandas
from numpy.typing import NDArray

from debiaslab.analysis.frames import groups_frame
from debiaslab.analysis.plots.figure import WIDTHS, NamedFigure, new_figure, print_style, set_title, wrap_text
from debiaslab.analysis.plots.run_groups import RunGroup, file_name, frame_of_groups, selection_notes
from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.evaluation.selection import parse_rule

COLOR_MAP = "viridis"  # perceptually uniform, and in order in greys
SHOWN_PER_ROW = {1: 1, 2: 2}  # methods side by side
FEW = 4  # classes, up to which twice as many maps stand side by side
MAX_WRITTEN = 12  # classes, up to which the numbers are written into the map
MAX_NAMED = 25  # classes, up to which each has its name at the axis
EMPTY = "0.85"  # grey of a group without images


def groups(cells: Mapping[str, Sequence[RunGroup]], rule: str, columns: int) -> list[NamedFigure]:
    """A figure for each data set whose test images have bias labels. Raises `UserError` if there is none."""
    pictures = []
    label = parse_rule(rule, True, "rule").label
    for data, members in cells.items():
        total = members[0].records[0].history().total["test"]
        shape = len(total), len(total[0])
        frame = frame_of_groups(members, lambda records: groups_frame(records, rule))
        if frame.empty or shape[1] == 1:  # no bias labels
            continue
        frame = mean_groups(frame)
        names = label_names(members[0].records[0], shape)
        title = [f"Test accuracy of every group (%), mean over n seeds: {data}", f"rule: {label}"]
        figure = groups_figure(frame, shape, names, [*title, *selection_notes(members, rule)], columns)
        pictures.append(NamedFigure(file_name("groups", data, rule), figure))
    if not pictures:
        raise UserError(f"no run has an evaluation on test images with bias labels under the rule {rule}")
    return pictures


def mean_groups(frame: pandas.DataFrame) -> pandas.DataFrame:
    """`row`, `target`, `bias`, `accuracy` in percent (the prediction's, on test images; mean over runs), `total` images
    of the group, and `n` runs."""
    prediction = frame.groupby("id")["branch"].transform("first")
    chosen = frame[(frame["split"] == "test") & (frame["branch"] == prediction)]
    grouped = chosen.groupby(["row", "target", "bias"])
    found = grouped.agg(accuracy=("accuracy", "mean"), total=("total", "first"), n=("id", "nunique")).reset_index()
    return found.assign(accuracy=100 * found["accuracy"])


def label_names(record: Record, shape: tuple[int, int]) -> tuple[list[str] | None, list[str] | None]:
    """The names of classes and of biases that a run recorded, as many as `shape` says; None for numbers."""
    data = record.info.get("data", {})
    named = [data.get(kind) for kind in ("classes", "biases")]
    classes, biases = (
        found if found and len(found) == size else None for found, size in zip(named, shape, strict=True)
    )
    return classes, biases


@print_style()
def groups_figure(
    frame: pandas.DataFrame,
    shape: tuple[int, int],
    names: tuple[list[str] | None, list[str] | None],
    title: Sequence[str],
    columns: int,
) -> Any:
    """A map for each `row` of `frame` (as of `mean_groups`): targets down, biases across, empty groups crossed out.

    `shape` is (num_classes, num_biases), `names` are theirs, None for numbers. In each group stands its accuracy, and
    below it the number of images, which is the same for all methods.
    """
    rows = list(dict.fromkeys(frame["row"]))
    wide = min(SHOWN_PER_ROW[columns] * (2 if max(shape) <= FEW else 1), len(rows))
    blocks = -(-len(rows) // wide)
    width = WIDTHS[columns] if wide > 1 else min(WIDTHS[columns], 4.6)
    side = (width - 0.9) / wide
    figure, axes = new_figure(blocks, wide, width, blocks * (side * min(1.6, shape[0] / shape[1]) + 0.35) + 0.6)
    for axis in axes.flat[len(rows) :]:
        axis.set_axis_off()
    image = None
    for axis, row in zip(axes.flat, rows, strict=False):
        runs = frame[frame["row"] == row]
        accuracy, total = _table(runs, "accuracy", shape), _table(runs, "total", shape)
        image = _draw(axis, accuracy, total, names, side)
        axis.set_title(wrap_text(f"{row} (n={runs['n'].max()})", side))
    for position, axis in enumerate(axes.flat[: len(rows)]):
        if position % wide == 0:
            axis.set_ylabel("target")
        if position + wide >= len(rows):
            axis.set_xlabel("bias")
    figure.colorbar(image, ax=axes, label="accuracy (%)", shrink=0.6 if blocks > 1 else 0.9, aspect=30)
    small = ["below each accuracy: test images of the group"] if max(shape) <= MAX_WRITTEN else []
    empty = ["crossed out: no test image"] if len(frame) < len(rows) * shape[0] * shape[1] else []
    set_title(figure, [*title, "; ".join([*small, *empty])] if small or empty else title, width)
    return figure


def _table(runs: pandas.DataFrame, value: str, shape: tuple[int, int]) -> NDArray[numpy.float64]:
    """[num_classes, num_biases], NaN for a group without images."""
    table = numpy.full(shape, numpy.nan)
    table[runs["target"], runs["bias"]] = runs[value]
    return table


def _draw(
    axis: Any,
    accuracy: NDArray[numpy.float64],
    total: NDArray[numpy.float64],
    names: tuple[list[str] | None, list[str] | None],
    side: float,
) -> Any:
    image = axis.imshow(accuracy, vmin=0, vmax=100, cmap=COLOR_MAP, aspect="auto", interpolation="nearest")
    axis.set_facecolor(EMPTY)
    for size, labels, set_ticks in zip(accuracy.shape, names, (axis.set_yticks, axis.set_xticks), strict=True):
        step = -(-size // MAX_NAMED)
        shown = range(0, size, step)
        texts = [str(labels[position])[:10] if labels else str(position) for position in shown]
        turned = set_ticks == axis.set_xticks and max(map(len, texts)) * len(texts) > 16 * side
        set_ticks(shown, texts, rotation=90 if turned else 0)
    size = min(6.5, 26 * side / max(accuracy.shape) / 1.5)
    for target, bias in numpy.ndindex(accuracy.shape):
        value = accuracy[target, bias]
        if numpy.isnan(value):
            axis.text(bias, target, "x", ha="center", va="center", fontsize=size, color="0.4")
        elif max(accuracy.shape) <= MAX_WRITTEN:
            color = "white" if value < 60 else "black"
            axis.text(bias, target, f"{value:.0f}", ha="center", va="bottom", fontsize=size, color=color)
            count = f"{total[target, bias]:.0f}"
            axis.text(bias, target + 0.08, count, ha="center", va="top", fontsize=0.75 * size, color=color)
    return image
