"""The figures that a run records: its accuracies, and diagnostics of the training samples."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from debiaslab.analysis.plots.chart import Line, Panel, save_panels
from debiaslab.analysis.plots.figure import COLORS
from debiaslab.evaluation.diagnostics import PRECISION, RECALL, WEIGHT_ALIGNED, WEIGHT_CONFLICTING
from debiaslab.evaluation.history import Evaluation, History

# accuracies that a picture shows, metric -> whether its line is dashed; the first of these that are known
DASHED = ({"conflicting": False, "aligned": True}, {"unbiased": False, "worst_group": True}, {"accuracy": False})
PERCENT = (-2.0, 102.0)  # limits of an axis
COLUMNS = 3  # maximum number of panels side by side


def save_curves(path: Path, history: History, title: str) -> None:
    """Test accuracy on aligned and conflicting images against epochs: a panel per phase, a colour per branch.

    Where these are not known, of all groups and the worst one; without bias labels, of all images.
    """
    panels = []
    for phase in dict.fromkeys(evaluation.phase for evaluation in history.evaluations):
        evaluations = history.of_phase(phase)
        branches = zip(COLORS, evaluations[0].correct["test"], strict=False)
        lines = [line for color, branch in branches for line in _accuracy_lines(history, evaluations, branch, color)]
        panels.append(Panel(phase, lines, "test accuracy (%)", PERCENT))
    rows = [panels[first : first + COLUMNS] for first in range(0, len(panels), COLUMNS)]
    save_panels(path, rows, title, width=5.5, height=4.2)


def _accuracy_lines(history: History, evaluations: Sequence[Evaluation], branch: str, color: str) -> list[Line]:
    """The accuracies of a branch that are shown."""
    metrics = [history.counts(evaluation, "test", branch).metrics() for evaluation in evaluations]
    known = ([name for name in names if not isnan(metrics[0][name])] for names in DASHED)
    dashed = {name: dash for names in DASHED for name, dash in names.items()}
    return [
        Line(
            f"{branch}, {name}",
            [(evaluation.epoch, 100 * point[name]) for evaluation, point in zip(evaluations, metrics, strict=True)],
            color,
            dashed[name],
        )
        for name in next(filter(None, known))
    ]


# ---- what a method makes of the training samples

SAMPLE_STYLES = {  # name -> (colour, whether the line is dashed)
    WEIGHT_CONFLICTING: (COLORS[0], False),
    WEIGHT_ALIGNED: (COLORS[0], True),
    PRECISION: (COLORS[1], False),
    RECALL: (COLORS[2], False),
}


def has_diagnostics(history: History) -> bool:
    return bool(_diagnosed_phases(history))


def save_diagnostics(path: Path, history: History, title: str) -> None:
    """A row for each phase that has sample weights, a selection, or a branch beside its prediction.

    Against epochs: mean weights of aligned and conflicting training samples, and precision and recall of "this sample
    is conflicting"; test accuracy of the branches beside the prediction, such as the biased one; losses.
    """
    rows = [_diagnostic_panels(history, phase) for phase in _diagnosed_phases(history)]
    save_panels(path, rows, title, width=14 / 3, height=3.6)


def _diagnostic_panels(history: History, phase: str) -> list[Panel]:
    evaluations = history.of_phase(phase)
    samples = []
    for name, (color, dashed) in SAMPLE_STYLES.items():
        points = [(point.epoch, point.diagnostics[name]) for point in evaluations if name in point.diagnostics]
        samples += [Line(name, points, color, dashed)] if points else []
    others = zip(COLORS[1:], list(evaluations[0].correct["test"])[1:], strict=False)  # curves show the first branch
    branches = [line for color, branch in others for line in _accuracy_lines(history, evaluations, branch, color)]
    names = dict.fromkeys(name for point in evaluations for name in point.losses)
    losses = [
        Line(name, [(point.epoch, point.losses[name]) for point in evaluations if name in point.losses], color)
        for name, color in zip(names, COLORS, strict=False)
    ]
    return [
        Panel(f"{phase}: training samples", samples, limits=(-0.03, 1.03)),
        Panel(f"{phase}: other branches, test accuracy (%)", branches, limits=PERCENT),
        Panel(f"{phase}: mean training losses", losses, log=True),
    ]


def _diagnosed_phases(history: History) -> list[str]:
    has_samples = (any(name in point.diagnostics for name in SAMPLE_STYLES) for point in history.evaluations)
    found = [
        point.phase
        for point, diagnosed in zip(history.evaluations, has_samples, strict=True)
        if diagnosed or len(point.correct["test"]) > 1
    ]
    return list(dict.fromkeys(found))
