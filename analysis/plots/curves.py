"""Quantities against epochs, mean over seeds with a band: accuracies of every branch, methods side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas

from debiaslab.analysis.frames import curves_frame
from debiaslab.analysis.plots.figure import (
    BLACK,
    COLORS,
    LINES,
    WIDTHS,
    NamedFigure,
    accuracy_axis,
    new_figure,
    print_style,
    set_legend,
    set_title,
    wrap_text,
)
from debiaslab.analysis.plots.run_groups import RunGroup, file_name, frame_of_groups, selection_notes
from debiaslab.core.errors import UserError, one_of

METRICS = ("unbiased", "aligned", "conflicting")
BANDS = {"minmax": "least to greatest", "std": "standard deviation"}
SHOWN_PER_ROW = {1: 2, 2: 4}  # methods side by side, for one and two page columns
PANEL_HEIGHT = 1.15  # inches
MAX_MARKED = 3  # lines with at most this many points get markers, so that they are visible


def curves(cells: Mapping[str, Sequence[RunGroup]], phase: str | None, band: str, columns: int) -> list[NamedFigure]:
    """A figure for each data set: test accuracy against epochs. `phase` None: the last one of each method.

    Raises `UserError` if no run has that phase.
    """
    pictures = []
    for data, members in cells.items():
        frame = of_phase(frame_of_groups(members, curves_frame), phase)
        frame = frame[frame["split"] == "test"]
        if frame.empty:
            continue
        known = [metric for metric in METRICS if frame[metric].notna().any()] or ["accuracy"]
        lines = melt_metrics(frame, {metric: f"{metric} (%)" for metric in known})
        title = [f"Test accuracy in {phase_name(phase)}: {data}", *selection_notes(members)]
        pictures.append(NamedFigure(file_name("curves", data, phase or ""), lines_figure(lines, title, band, columns)))
    if not pictures:
        raise UserError(f"no run has a phase {phase!r}; one of {one_of(phases_of(cells))}")
    return pictures


def phases_of(cells: Mapping[str, Sequence[RunGroup]]) -> set[str]:
    runs = [record for members in cells.values() for cell in members for record in cell.records]
    return {evaluation.phase for record in runs for evaluation in record.history().evaluations}


def phase_name(phase: str | None) -> str:
    return "the last phase" if phase is None else f"the phase {phase}"


def of_phase(frame: pandas.DataFrame, phase: str | None) -> pandas.DataFrame:
    """The rows of the phase; None: of each run's last phase."""
    if frame.empty:
        return frame
    wanted = frame.groupby("id")["phase"].transform("last") if phase is None else phase
    return frame[frame["phase"] == wanted]


def melt_metrics(frame: pandas.DataFrame, values: Mapping[str, str]) -> pandas.DataFrame:
    """A row for each value: `row`, `seed`, `epoch`, `branch`, `is_prediction`, `panel` and `value` in percent.

    `values` is the column of a value in [0, 1] -> its panel.
    """
    facts = ["row", "seed", "epoch", "branch", "is_prediction"]
    parts = [frame[facts].assign(panel=panel, value=100 * frame[name]) for name, panel in values.items()]
    return pandas.concat(parts, ignore_index=True).dropna(subset="value")


@print_style()
def lines_figure(
    frame: pandas.DataFrame, title: Sequence[str], band: str, columns: int, chance: Mapping[str, float] | None = None
) -> Any:
    """A column of panels for each `row` of `frame` (as of `melt_metrics`), a line for each branch, a band over seeds.

    `chance`, panel -> percent, draws a dotted line. Of several evaluations in one epoch the last counts.
    """
    rows, panels = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["panel"]))
    styles = branch_styles(frame)
    wide = min(SHOWN_PER_ROW[columns], len(rows))
    blocks = -(-len(rows) // wide)
    count = blocks * len(panels)
    width = WIDTHS[columns] if wide > 1 else min(WIDTHS[columns], WIDTHS[1])
    height = PANEL_HEIGHT * count + 0.8 + 0.12 * len(title)
    figure, axes = new_figure(count, wide, width, height, sharey=True)
    for axis in axes.flat:
        axis.set_axis_off()
    last = frame["epoch"].max()
    for position, row in enumerate(rows):
        runs = frame[frame["row"] == row]
        block, column = divmod(position, wide)
        for place, panel in enumerate(panels):
            axis = axes[block * len(panels) + place, column]
            axis.set_axis_on()
            _draw(axis, runs[runs["panel"] == panel], styles, band)
            if chance:
                axis.axhline(chance[panel], color="0.5", linestyle=":", linewidth=0.8)
            accuracy_axis(axis)
            axis.set_xlim(0, 1.03 * max(last, 2))
            axis.tick_params(labelbottom=place == len(panels) - 1)
            axis.xaxis.get_major_locator().set_params(integer=True)
            if place == 0:
                name = wrap_text(f"{row} (n={runs['seed'].nunique()})", width / wide - 0.2)
                axis.set_title(name)
            if place == len(panels) - 1:
                axis.set_xlabel("epoch")
            if column == 0:
                axis.set_ylabel(panel)
    set_legend(figure, _handles(styles, chance), width)
    seeds = frame.groupby("row")["seed"].nunique().max()
    spread = [f"line: mean over n seeds; band: {BANDS[band]}"] if seeds > 1 else []
    set_title(figure, [*title, *spread], width)
    return figure


def branch_styles(frame: pandas.DataFrame) -> dict[str, tuple[str, Any, float]]:
    """Branch -> (colour, line style, width). The predictions of all methods share one, called by its name if all have
    the same."""
    predictions = list(dict.fromkeys(frame.loc[frame["is_prediction"], "branch"]))
    others = [branch for branch in dict.fromkeys(frame["branch"]) if branch not in predictions]
    shared = dict.fromkeys(predictions, (COLORS[0], LINES[0], 1.4))
    own = zip(others, [*COLORS[1:], BLACK], [*LINES[1:], LINES[0]], strict=False)
    return shared | {branch: (color, line, 1.0) for branch, color, line in own}


def _draw(axis: Any, runs: pandas.DataFrame, styles: Mapping[str, tuple[str, Any, float]], band: str) -> None:
    for branch, (color, line, width) in styles.items():
        points = runs[runs["branch"] == branch].groupby(["seed", "epoch"])["value"].last().unstack("seed")
        if points.empty:
            continue
        mean, epochs = points.mean(axis=1), points.index
        marker = "o" if len(epochs) <= MAX_MARKED else None
        axis.plot(epochs, mean, linestyle=line, color=color, linewidth=width, label=branch, marker=marker, markersize=3)
        if points.shape[1] > 1:
            std = points.std(axis=1)
            edges = (points.min(axis=1), points.max(axis=1)) if band == "minmax" else (mean - std, mean + std)
            axis.fill_between(epochs, *edges, color=color, alpha=0.2, linewidth=0)


def _handles(styles: Mapping[str, tuple[str, Any, float]], chance: Mapping[str, float] | None) -> list[Any]:
    from matplotlib.lines import Line2D

    shared = [branch for branch, style in styles.items() if style[0] == COLORS[0]]
    names = {f"{shared[0]} (prediction)" if len(shared) == 1 else "prediction": styles[shared[0]]}
    names |= {branch: style for branch, style in styles.items() if branch not in shared}
    handles = [
        Line2D([], [], color=color, linestyle=line, linewidth=width, label=name)
        for name, (color, line, width) in names.items()
    ]
    guess = Line2D([], [], color="0.5", linestyle=":", linewidth=0.8, label="chance")
    return [*handles, *([guess] if chance else [])]
