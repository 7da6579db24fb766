"""Weights and votes of aligned and conflicting training images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import pandas
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from debiaslab.analysis.plots.figure import (
    COLORS,
    HATCHES,
    WIDTHS,
    NamedFigure,
    new_figure,
    print_style,
    set_legend,
    set_title,
    wrap_text,
)
from debiaslab.analysis.plots.run_groups import RunGroup, file_name, selection_notes
from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.evaluation.diagnostics import SAMPLES

NUM_BINS = 25
# of numbers, whole numbers, True and False, as numpy calls them
KINDS_OF_COLUMN = {"weight": "f", "target": "iu", "bias": "iu", "votes": "iu", "conflicting": "b", "kept": "b"}
LARGEST = {"weight": 1e30, "votes": 1000}
PANELS = ("weight", "votes")  # columns that are drawn
SHOWN_PER_ROW = {1: 2, 2: 3}
PANEL_HEIGHT = 1.7  # inches
KINDS = {False: "bias-aligned", True: "bias-conflicting"}


def weights(cells: Mapping[str, Sequence[RunGroup]], columns: int) -> list[NamedFigure]:
    """A figure for each data set, with each method's run of the lowest seed that has recorded them.

    Raises `UserError` if there is none.
    """
    pictures = []
    for data, members in cells.items():
        frames = {cell.row: found for cell in members if (found := first_samples(cell)) is not None}
        if frames:
            shown = [cell for cell in members if cell.row in frames]
            title = [f"Training images at the end of training: {data}", *selection_notes(shown)]
            figure = weights_figure(frames, title, columns)
            pictures.append(NamedFigure(file_name("weights", data), figure))
    if not pictures:
        raise UserError("no run has weights of its training images with known bias (lff, disent, lff_be, disent_be do)")
    return pictures


def first_samples(cell: RunGroup) -> pandas.DataFrame | None:
    """`samples_frame` of the first run of a cell that has `PANELS` and known conflicting images; None if none has."""
    for record in cell.records:
        if SAMPLES in record.artifact_names():
            frame = samples_frame(record)
            if "conflicting" in frame and not set(PANELS).isdisjoint(frame.columns):
                return frame.assign(seed=record.config["seed"])
    return None


def samples_frame(record: Record) -> pandas.DataFrame:
    """A row for each training image: `target`, `bias` and the method's values at the end of training.

    `weight` in the debiased loss, not-a-number if it never had one; `kept` as bias-aligned; `votes` for that;
    `conflicting`. Raises `UserError` if the run has not recorded it, or the file is damaged.
    """
    content = record.artifact(SAMPLES)
    try:
        frame = pandas.DataFrame(load(content))
        wrong = [
            name for name, kinds in KINDS_OF_COLUMN.items() if name in frame and frame[name].dtype.kind not in kinds
        ]
        wrong += [name for name in frame.columns if (frame[name].abs() > LARGEST.get(name, numpy.inf)).any()]
        if frame.empty or wrong:
            raise ValueError(f"it has values that cannot be of {', '.join(wrong) or 'any image'}")
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{SAMPLES} of the run {record.id} is damaged: {error}") from None
    return frame


@print_style()
def weights_figure(frames: Mapping[str, pandas.DataFrame], title: Sequence[str], columns: int) -> Any:
    """Panels for each method of `frames` (as of `samples_frame`, with `seed`): shares of the aligned and of the
    conflicting images with each weight, and with each number of votes."""
    panels = [(row, name) for row, frame in frames.items() for name in PANELS if name in frame]
    wide = min(SHOWN_PER_ROW[columns], len(panels))
    width = WIDTHS[columns] if wide > 1 else WIDTHS[1]
    blocks = -(-len(panels) // wide)
    figure, axes = new_figure(blocks, wide, width, PANEL_HEIGHT * blocks + 0.7)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for position, (axis, (row, name)) in enumerate(zip(axes.flat, panels, strict=False)):
        frame = frames[row]
        seed = f"seed {frame['seed'].iloc[0]}"
        axis.set_title(wrap_text(f"{row}, {seed}", width / wide - 0.3))
        {"weight": _draw_weights, "votes": _draw_votes}[name](axis, frame)
        axis.grid(alpha=0.3, linewidth=0.5, axis="y")
        if position % wide == 0:
            axis.set_ylabel("share of the images (%)")
    drawn = {
        name: [axis for axis, panel in zip(axes.flat, panels, strict=False) if panel[1] == name] for _, name in panels
    }
    for alike in drawn.values():
        highest = max(axis.get_ylim()[1] for axis in alike)
        for axis in alike:
            axis.set_ylim(0, highest)
    set_legend(figure, _handles(next(iter(frames.values()))), width)
    set_title(figure, title, width)
    return figure


def shares(values: NDArray[numpy.floating], edges: NDArray[numpy.floating]) -> NDArray[numpy.float64]:
    """Percent of the known `values` between each two `edges`; zeros if none is known."""
    counts = numpy.histogram(values[~numpy.isnan(values)], edges)[0]
    share: NDArray[numpy.float64] = 100 * counts / max(1, counts.sum())
    return share


def _draw_weights(axis: Any, frame: pandas.DataFrame) -> None:
    edges = numpy.linspace(0, max(1.0, frame["weight"].max()), NUM_BINS + 1)
    for conflicting, color in zip(KINDS, COLORS, strict=False):
        values = frame.loc[frame["conflicting"] == conflicting, "weight"].to_numpy(dtype=float)
        line = "-" if conflicting else "--"
        axis.stairs(shares(values, edges), edges, color=color, linewidth=1.2, linestyle=line, label=KINDS[conflicting])
        axis.stairs(shares(values, edges), edges, color=color, fill=True, alpha=0.15)
    axis.set(xlim=(0, edges[-1]), xlabel="weight in the debiased loss")


def _draw_votes(axis: Any, frame: pandas.DataFrame) -> None:
    """Bars for each number of votes, and a line at the minimum for keeping a sample."""
    most, label = int(frame["votes"].max()), "votes for bias-aligned"
    edges = numpy.arange(most + 2) - 0.5
    for place, (conflicting, color) in enumerate(zip(KINDS, COLORS, strict=False)):
        values = frame.loc[frame["conflicting"] == conflicting, "votes"].to_numpy(dtype=float)
        positions = numpy.arange(most + 1) + (place - 0.5) * 0.4
        drawn = {"color": color, "edgecolor": "white", "linewidth": 0, "hatch": HATCHES[place]}
        axis.bar(positions, shares(values, edges), width=0.4, label=KINDS[conflicting], **drawn)
    if "kept" in frame and frame["kept"].any():
        axis.axvline(frame.loc[frame["kept"], "votes"].min() - 0.5, color="0.3", linewidth=0.8, linestyle=":")
        kept = [f"{frame.loc[frame['conflicting'] == kind, 'kept'].sum():,}" for kind in KINDS]
        label += f"\n(kept: {kept[0]} aligned, {kept[1]} conflicting)"
    axis.set(xlabel=label, xticks=range(most + 1))


def _handles(frame: pandas.DataFrame) -> list[Any]:
    from matplotlib.patches import Patch

    counts = {kind: int((frame["conflicting"] == kind).sum()) for kind in KINDS}
    styles: Any = zip(KINDS.items(), COLORS, ("--", "-"), HATCHES, strict=False)
    return [
        Patch(facecolor=f"{color}26", edgecolor=color, linestyle=line, hatch=hatch, label=f"{name} ({counts[kind]:,})")
        for (kind, name), color, line, hatch in styles
    ]
