"""Pictures of a run, as PNG files."""

from math import ceil
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from core.files import atomic_write
from datasets import BiasedDataset
from training.diagnostics import PRECISION, RECALL, WEIGHT_ALIGNED, WEIGHT_CONFLICTING
from training.history import History

# Okabe and Ito's colours, distinct for the colour-blind
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def save_sample_grid(path: Path, data: BiasedDataset, per_class: int = 3) -> None:
    """Training images: a row of bias-aligned ones of each class, and a row of bias-conflicting ones."""
    aligned = data.aligned_groups()[data.train.target.cpu(), data.train.bias.cpu()]
    figure, axes = _figure(rows=2, columns=1, width=12, height=1.9)
    for axis, name, chosen in zip(axes[:, 0], ("aligned", "conflicting"), (aligned, ~aligned), strict=True):
        indices = _some_of_each_class(data.train.target.cpu(), chosen, data.num_classes, per_class)
        axis.set_title(f"bias-{name} training images ({int(chosen.sum())} of {len(chosen)})", fontsize=9, loc="left")
        axis.set_axis_off()
        if len(indices) == 0:
            continue
        images = data.train.images[indices.to(data.train.images.device)].cpu()
        axis.imshow(numpy.concatenate(list(images.permute(0, 2, 3, 1).numpy()), axis=1))
        width = images.shape[3]
        for position, index in enumerate(indices.tolist()):
            label = f"{int(data.train.target[index])}/{int(data.train.bias[index])}"
            axis.text((position + 0.5) * width, images.shape[2] * 1.02, label, fontsize=6, ha="center", va="top")
    figure.supxlabel("below each image: target/bias class", fontsize=6)
    _save(figure, path)


def save_curves(path: Path, history: History, title: str) -> None:
    """Test accuracy on aligned and conflicting images against epochs: a panel per phase, a colour per branch."""
    phases = list(dict.fromkeys(evaluation.phase for evaluation in history.evaluations))
    columns = min(3, len(phases))
    rows = ceil(len(phases) / columns)
    figure, axes = _figure(rows=rows, columns=columns, width=5.5 * columns, height=4.2 * rows)
    for axis in axes.flat[len(phases) :]:
        axis.set_axis_off()
    for axis, phase in zip(axes.flat, phases, strict=False):
        evaluations = history.of_phase(phase)
        epochs = [evaluation.epoch for evaluation in evaluations]
        for color, branch in zip(COLORS, evaluations[0].correct["test"], strict=False):
            metrics = [history.counts(evaluation, "test", branch).metrics() for evaluation in evaluations]
            for metric, style in (("conflicting", "-"), ("aligned", "--")):
                values = [100 * point[metric] for point in metrics]
                marker = "o" if len(epochs) == 1 else None
                axis.plot(epochs, values, style, color=color, label=f"{branch}, {metric}", linewidth=1.2, marker=marker)
        axis.set(title=phase, xlabel="epoch", ylabel="test accuracy (%)", ylim=(-2, 102))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _some_of_each_class(target: Tensor, chosen: Tensor, num_classes: int, count: int) -> Tensor:
    """Positions of up to `count` chosen samples of each class, spread evenly over the data set."""
    members = [(chosen & (target == label)).nonzero()[:, 0] for label in range(num_classes)]
    spread = [torch.linspace(0, len(index) - 1, min(count, len(index))).round().long() for index in members]
    return torch.cat([index[position] for index, position in zip(members, spread, strict=True)])


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: it takes half a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


# ---- what a method makes of the training samples

LINE_STYLES = {"conflicting": "-", "aligned": "--"}
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
    figure, axes = _figure(rows=len(phases), columns=3, width=14, height=3.6 * len(phases))
    for (samples, branches, losses), phase in zip(axes, phases, strict=True):
        evaluations = history.of_phase(phase)
        epochs = [evaluation.epoch for evaluation in evaluations]
        _plot_series(samples, epochs, [evaluation.diagnostics for evaluation in evaluations], SAMPLE_STYLES)
        samples.set(title=f"{phase}: training samples", ylim=(-0.03, 1.03))
        others = list(evaluations[0].correct["test"])[1:]
        for color, branch in zip(COLORS[1:], others, strict=False):  # the prediction has the first one in the curves
            metrics = [history.counts(evaluation, "test", branch).metrics() for evaluation in evaluations]
            accuracies = [{f"{branch}, {name}": 100 * point[name] for name in LINE_STYLES} for point in metrics]
            styles = {f"{branch}, {name}": (color, style) for name, style in LINE_STYLES.items()}
            _plot_series(branches, epochs, accuracies, styles)
        branches.set(title=f"{phase}: other branches, test accuracy (%)", ylim=(-2, 102))
        names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.losses)
        colored = {name: (color, "-") for name, color in zip(names, COLORS, strict=False)}
        _plot_series(losses, epochs, [evaluation.losses for evaluation in evaluations], colored)
        losses.set(title=f"{phase}: mean training losses")
        losses.set_yscale("log", nonpositive="mask")
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _diagnosed_phases(history: History) -> list[str]:
    found = [point.phase for point in history.evaluations if point.diagnostics or len(point.correct["test"]) > 1]
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
