"""The figures that a run records: its accuracies, and diagnostics of the training samples."""

from collections.abc import Sequence
from math import ceil, isnan
from pathlib import Path
from typing import Any

from debiaslab.analysis.plots.figure import COLORS, new_figure, save_figure
from debiaslab.evaluation.diagnostics import PRECISION, RECALL, WEIGHT_ALIGNED, WEIGHT_CONFLICTING
from debiaslab.evaluation.history import Evaluation, History

# accuracies that a picture shows, metric -> line style; the first of these that are known
LINE_STYLES = ({"conflicting": "-", "aligned": "--"}, {"unbiased": "-", "worst_group": "--"}, {"accuracy": "-"})


def save_curves(path: Path, history: History, title: str) -> None:
    """Test accuracy on aligned and conflicting images against epochs: a panel per phase, a colour per branch.

    Where these are not known, of all groups and the worst one; without bias labels, of all images.
    """
    phases = list(dict.fromkeys(evaluation.phase for evaluation in history.evaluations))
    columns = min(3, len(phases))
    rows = ceil(len(phases) / columns)
    figure, axes = new_figure(rows=rows, columns=columns, width=5.5 * columns, height=4.2 * rows)
    for axis in axes.flat[len(phases) :]:
        axis.set_axis_off()
    for axis, phase in zip(axes.flat, phases, strict=False):
        evaluations = history.of_phase(phase)
        epochs = [evaluation.epoch for evaluation in evaluations]
        for color, branch in zip(COLORS, evaluations[0].correct["test"], strict=False):
            styles, accuracies = _accuracies(history, evaluations, branch)
            for metric, style in styles.items():
                values = [point[metric] for point in accuracies]
                marker = "o" if len(epochs) == 1 else None
                axis.plot(epochs, values, style, color=color, label=f"{branch}, {metric}", linewidth=1.2, marker=marker)
        axis.set(title=phase, xlabel="epoch", ylabel="test accuracy (%)", ylim=(-2, 102))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    figure.suptitle(title, fontsize=10, parse_math=False)
    save_figure(figure, path)


def _accuracies(
    history: History, evaluations: Sequence[Evaluation], branch: str
) -> tuple[dict[str, str], list[dict[str, float]]]:
    """(metric -> line style, test accuracies in percent of each evaluation): of the first known of `LINE_STYLES`."""
    metrics = [history.counts(evaluation, "test", branch).metrics() for evaluation in evaluations]
    accuracies = [{name: 100 * value for name, value in point.items()} for point in metrics]
    known = ({name: style for name, style in styles.items() if not isnan(metrics[0][name])} for styles in LINE_STYLES)
    return next(filter(None, known)), accuracies


# ---- what a method makes of the training samples

SAMPLE_STYLES = {
    WEIGHT_CONFLICTING: (COLORS[0], "-"),
    WEIGHT_ALIGNED: (COLORS[0], "--"),
    PRECISION: (COLORS[1], "-"),
    RECALL: (COLORS[2], "-"),
}


def has_diagnostics(history: History) -> bool:
    return bool(_diagnosed_phases(history))


def save_diagnostics(path: Path, history: History, title: str) -> None:
    """A row for each phase that has sample weights, a selection, or a branch beside its prediction.

    Against epochs: mean weights of aligned and conflicting training samples, and precision and recall of "this sample
    is conflicting"; test accuracy of the branches beside the prediction, such as the biased one; losses.
    """
    phases = _diagnosed_phases(history)
    figure, axes = new_figure(rows=len(phases), columns=3, width=14, height=3.6 * len(phases))
    for (samples, branches, losses), phase in zip(axes, phases, strict=True):
        evaluations = history.of_phase(phase)
        epochs = [evaluation.epoch for evaluation in evaluations]
        _plot_series(samples, epochs, [evaluation.diagnostics for evaluation in evaluations], SAMPLE_STYLES)
        samples.set(title=f"{phase}: training samples", ylim=(-0.03, 1.03))
        others = list(evaluations[0].correct["test"])[1:]
        for color, branch in zip(COLORS[1:], others, strict=False):  # the prediction has the first one in the curves
            line_styles, accuracies = _accuracies(history, evaluations, branch)
            points = [{f"{branch}, {name}": point[name] for name in line_styles} for point in accuracies]
            styles = {f"{branch}, {name}": (color, style) for name, style in line_styles.items()}
            _plot_series(branches, epochs, points, styles)
        branches.set(title=f"{phase}: other branches, test accuracy (%)", ylim=(-2, 102))
        names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.losses)
        colored = {name: (color, "-") for name, color in zip(names, COLORS, strict=False)}
        _plot_series(losses, epochs, [evaluation.losses for evaluation in evaluations], colored)
        losses.set(title=f"{phase}: mean training losses")
        losses.set_yscale("log", nonpositive="mask")
    figure.suptitle(title, fontsize=10, parse_math=False)
    save_figure(figure, path)


def _diagnosed_phases(history: History) -> list[str]:
    has_samples = (any(name in point.diagnostics for name in SAMPLE_STYLES) for point in history.evaluations)
    found = [
        point.phase
        for point, diagnosed in zip(history.evaluations, has_samples, strict=True)
        if diagnosed or len(point.correct["test"]) > 1
    ]
    return list(dict.fromkeys(found))


def _plot_series(
    axis: Any, epochs: list[int], points: list[dict[str, float]], styles: dict[str, tuple[str, str]]
) -> None:
    """A line for each of `styles`, name -> (colour, line style), that `points`, one per evaluation, have."""
    for name, (color, style) in styles.items():
        known = [(epoch, point[name]) for epoch, point in zip(epochs, points, strict=True) if name in point]
        if known:
            marker = "o" if len(known) == 1 else None
            axis.plot(*zip(*known, strict=True), style, color=color, label=name, linewidth=1.2, marker=marker)
    axis.set(xlabel="epoch")
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=7)
