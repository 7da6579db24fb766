"""Accuracy against the fraction of bias-conflicting training images, with published points."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas

from debiaslab.analysis.frames import results_frame, settings_that_differ
from debiaslab.analysis.plots.figure import (
    BLACK,
    COLORS,
    LINES,
    MARKERS,
    WIDTHS,
    NamedFigure,
    new_figure,
    print_style,
    set_legend,
    set_title,
)
from debiaslab.analysis.plots.run_groups import RunGroup, file_name, selection_notes, with_protocol
from debiaslab.analysis.published_numbers import notes_on_papers, published_result
from debiaslab.analysis.records import Record
from debiaslab.analysis.table_names import NOT_ROW, column_names
from debiaslab.core.errors import UserError, one_of, suggestion
from debiaslab.evaluation.outcomes import scale_of
from debiaslab.evaluation.selection import parse_rule
from debiaslab.settings.declared import conflicting_percent, ratio_settings


def ratios(cells: Mapping[str, Sequence[RunGroup]], rule: str, metric: str, columns: int) -> list[NamedFigure]:
    """A figure for each data set with runs at two or more ratios; `metric` such as "test/unbiased".

    Raises `UserError` for an unknown metric, or if there is no such data set.
    """
    label = parse_rule(rule, True, "rule").label
    pictures = []
    for family, members in families(cells).items():
        frame = ratios_frame(members, rule, metric)
        if frame["percent"].nunique() < 2:
            continue
        title = [f"{metric}, mean and standard deviation over seeds: {family}", f"rule: {label}"]
        sources = sorted(set(frame["source"].dropna()))
        paper = [f"published: {'; '.join(sources)}", *notes_on_papers(sources)] if sources else []
        notes = [*paper, *differing_notes(members), *selection_notes(members, rule)]
        figure = ratios_figure(frame, metric, [*title, *notes], columns)
        pictures.append(NamedFigure(file_name("ratios", family, metric, rule), figure))
    if not pictures:
        raise UserError("needs complete runs on one data set with two bias ratios or more")
    return pictures


def families(cells: Mapping[str, Sequence[RunGroup]]) -> dict[str, list[RunGroup]]:
    """Data set without its bias ratio -> cells. Runs whose data differs in anything else never share a family."""
    every = [cell for members in cells.values() for cell in members if ratio_of(cell) is not None]
    without = {cell.records[0].id: _without_ratio(cell.records[0]) for cell in every}
    names = column_names(list(without.values()))
    found: dict[str, list[RunGroup]] = {}
    for cell in every:
        first = cell.records[0]
        found.setdefault(with_protocol(names[first.id], first.config), []).append(cell)
    return found


def differing_notes(cells: Sequence[RunGroup]) -> list[str]:
    """A line for each method whose settings are not the same at all ratios, as some recipes have it."""
    notes = []
    for row in dict.fromkeys(cell.row for cell in cells):
        names = settings_that_differ([cell.records[0] for cell in cells if cell.row == row])
        own = [name.split(".")[-1] for name in names if not name.startswith(NOT_ROW)]
        notes += [f"{row}: {', '.join(own)} depend on the ratio"] if own else []
    return notes


def ratio_of(cell: RunGroup) -> float | None:
    """The percentage of bias-conflicting training images; None if the settings do not determine it."""
    return conflicting_percent(cell.records[0].config["data"])


def _without_ratio(record: Record) -> Record:
    """The record without its bias ratio, and without the fingerprint of its data, which depends on that."""
    ratios = ratio_settings(record.config["data"])
    data = {name: value for name, value in record.config["data"].items() if name not in ratios}
    return replace(record, config={**record.config, "data": data}, info={})


def ratios_frame(cells: Sequence[RunGroup], rule: str, metric: str) -> pandas.DataFrame:
    """`row`, `percent` of conflicting images, `mean`, `std` and `n` of the runs in percent; `published`,
    `published_std` and `source`. Raises `UserError` for an unknown metric."""
    rows = []
    for cell in cells:
        frame = results_frame(cell.records, [rule], metrics=[metric])
        if frame.empty:
            continue
        metrics = [name for name in frame.columns if "/" in name]
        if metric not in metrics:
            raise UserError(f"unknown metric {metric!r}{suggestion(metric, metrics)} one of {one_of(metrics)}")
        values = scale_of(metric)[0] * frame[metric].dropna().astype(float)
        if values.empty:
            continue
        paper = published_result(cell.records[0].config, metric)
        published: dict[str, Any] = {"published": None, "published_std": None, "source": None}
        if paper is not None:
            published = {"published": paper.mean, "published_std": paper.std, "source": paper.source}
        ours = {"mean": values.mean(), "std": values.std(), "n": len(values)}
        rows.append({"row": cell.row, "percent": ratio_of(cell)} | ours | published)
    names = ["row", "percent", "mean", "std", "n", "published", "published_std", "source"]
    return pandas.DataFrame(rows, columns=names).sort_values(["row", "percent"], ignore_index=True)


@print_style()
def ratios_figure(frame: pandas.DataFrame, metric: str, title: Sequence[str], columns: int) -> Any:
    """A line for each `row` of `frame` (as of `ratios_frame`), published points as hollow markers of the same shape."""
    width = WIDTHS[columns] if columns == 1 else 5.2
    figure, axes = new_figure(1, 1, width, 0.62 * width + 0.5)
    axis = axes[0, 0]
    rows = list(dict.fromkeys(frame["row"]))
    palette = [*COLORS, BLACK, "0.5"]
    for number, row in enumerate(rows):
        runs = frame[frame["row"] == row]
        color, marker = palette[number % len(palette)], MARKERS[number % len(MARKERS)]
        drawn = {"color": color, "marker": marker, "capsize": 2, "elinewidth": 0.8}
        counts = sorted(set(runs["n"]))
        seeds = f"n={counts[0]}" if len(counts) == 1 else f"n={counts[0]} to {counts[-1]}"
        line = LINES[number % len(LINES)]
        axis.errorbar(
            runs["percent"], runs["mean"], runs["std"].fillna(0), linestyle=line, label=f"{row} ({seeds})", **drawn
        )
        paper = runs[runs["published"].notna()].astype({"published": float, "published_std": float})
        if len(paper):
            spread = paper["published_std"].fillna(0)
            hollow = drawn | {"markerfacecolor": "none", "alpha": 0.75, "markersize": 6}
            axis.errorbar(paper["percent"], paper["published"], spread, linestyle="none", label="published", **hollow)
    axis.set_xscale("log")
    percents = sorted(set(frame["percent"]))
    axis.set_xticks(percents, [f"{percent:g}" for percent in percents])
    axis.minorticks_off()
    axis.set(xlabel="bias-conflicting training images (%)", ylabel=f"{metric} ({scale_of(metric)[1]})")
    axis.grid(alpha=0.3, linewidth=0.5)
    set_legend(figure, _handles(axis, bool(frame["published"].notna().any())), width)
    set_title(figure, title, width)
    return figure


def _handles(axis: Any, has_published: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    shown = [handle for handle in axis.get_legend_handles_labels()[0] if handle.get_label() != "published"]
    hollow = Line2D([], [], color="0.3", linestyle="none", marker="o", markerfacecolor="none", markersize=6)
    hollow.set_label("hollow: published")
    return [*shown, *([hollow] if has_published else [])]
