"""Two-dimensional embeddings of the features of test images, coloured by target and by bias."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import pandas
from numpy.typing import NDArray

from debiaslab.analysis.plots.figure import (
    BLACK,
    COLORS,
    MARKERS,
    WIDTHS,
    new_figure,
    print_style,
    set_legend,
    set_title,
)
from debiaslab.analysis.restored_run import RestoredRun
from debiaslab.core.errors import UserError, require_known
from debiaslab.core.randomness import torch_generator
from debiaslab.evaluation.outputs import draw_stratified, outputs_at

NUM_IMAGES = 1_000  # maximum number of test images
PERPLEXITY = 30.0  # of t-SNE; less for few images
MIN_DISTINCT = 4  # features, for t-SNE
PANEL_HEIGHT = {1: 1.5, 2: 1.7}  # inches
MAX_LEGEND = 20  # maximum number of classes in a legend


def features_of_test_images(run: RestoredRun) -> tuple[dict[str, NDArray[numpy.float64]], pandas.DataFrame]:
    """(branch -> features [M, F], `target` and, where it is known, `bias` of these images).

    Of the same test images in every run on the same data: chosen at random, as evenly from all groups as they allow.
    """
    split = run.data.test
    index = draw_stratified(split, run.data, NUM_IMAGES, torch_generator(0, "embeddings"))
    placed = index.to(split.target.device)
    found = outputs_at(placed, run.method.phases()[-1].features, split, run.data, run.setup.run.workers)
    if not found:
        raise UserError(f"{run.setup.config['method']['name']} gives no features (`Phase.features`)")
    labels = {"target": split.target.cpu()[index].numpy()}
    if split.has_bias:
        labels["bias"] = split.bias.cpu()[index].numpy()
    return {branch: values.cpu().double().numpy() for branch, values in found.items()}, pandas.DataFrame(labels)


def by_pca(features: NDArray[numpy.float64]) -> tuple[NDArray[numpy.float64], str]:
    """([M, 2] on the first two principal components, what they explain)."""
    centred = features - features.mean(axis=0)
    u, s, vt = numpy.linalg.svd(centred, full_matrices=False)
    signs = numpy.sign(vt[numpy.arange(len(vt)), numpy.abs(vt).argmax(axis=1)])  # else the sign would be arbitrary
    places = numpy.zeros((len(features), 2))
    places[:, : len(s)] = (u * s * signs)[:, :2]
    variance = s**2
    share = 100 * variance[:2].sum() / variance.sum() if variance.sum() > 0 else 0
    return places, f"PCA ({share:.0f} % of the variance)"


def by_tsne(features: NDArray[numpy.float64]) -> tuple[NDArray[numpy.float64], str]:
    """([M, 2] by t-SNE from a start by PCA, its perplexity); all in one place if there is nothing to tell apart."""
    from sklearn.manifold import TSNE

    if features.shape[1] < 2 or len(numpy.unique(features, axis=0)) < MIN_DISTINCT:
        return numpy.zeros((len(features), 2)), "t-SNE (too few distinct features)"
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=0)
    return tsne.fit_transform(features).astype(float), f"t-SNE (perplexity {perplexity:g})"


PROJECTIONS = {"pca": by_pca, "tsne": by_tsne}


def parse_projections(text: str) -> list[str]:
    """Raises `UserError` for an unknown one."""
    names = text.split(",")
    for name in names:
        require_known("projection", name, PROJECTIONS)
    return names


@print_style()
def embeddings_figure(
    features: Mapping[str, NDArray[numpy.float64]],
    labels: pandas.DataFrame,
    names: Mapping[str, Sequence[str]],
    projections: Sequence[str],
    title: Sequence[str],
    columns: int,
) -> Any:
    """A row for each branch of `features` [M, F] and projection, with a panel for each of `labels`.

    `names` are those of the classes of each label. In two columns of a page, the projections stand side by side.
    """
    places = {branch: [PROJECTIONS[name](values) for name in projections] for branch, values in features.items()}
    panels = [
        [(branch, *place, label) for place in found for label in labels.columns] for branch, found in places.items()
    ]
    if columns == 1:
        wide = len(labels.columns)
        panels = [row[start : start + wide] for row in panels for start in range(0, len(row), wide)]
    width = WIDTHS[columns] if len(panels[0]) > 1 else WIDTHS[1]
    height = PANEL_HEIGHT[columns] * len(panels) + 0.7 + 0.15 * len(labels.columns)
    figure, axes = new_figure(len(panels), len(panels[0]), width, height)
    for axis, (branch, points, projection, label) in zip(axes.flat, (p for row in panels for p in row), strict=True):
        _draw(axis, points, labels[label].to_numpy(), len(names[label]))
        axis.set_title(f"{branch} branch, by {label}")
        axis.set_xlabel(projection, fontsize=6)
    _set_legends(figure, names, list(labels.columns), width)
    set_title(figure, title, width)
    return figure


def class_style(position: int, count: int) -> dict[str, Any]:
    """Colour and marker of a class: Okabe and Ito's colours, each with up to two of the markers; viridis for more."""
    palette = [*COLORS, BLACK]
    if count <= 2 * len(palette):
        return {"color": palette[position % len(palette)], "marker": MARKERS[position % len(MARKERS)]}
    from matplotlib import colormaps

    return {"color": colormaps["viridis"](position / (count - 1)), "marker": MARKERS[position % len(MARKERS)]}


def _draw(axis: Any, points: NDArray[numpy.float64], label: NDArray[numpy.int64], count: int) -> None:
    for position in range(count):
        chosen = label == position
        style = class_style(position, count)
        axis.scatter(*points[chosen].T, s=6, alpha=0.7, linewidths=0, label=str(position), **style)
    axis.set(xticks=[], yticks=[])


def _set_legends(figure: Any, names: Mapping[str, Sequence[str]], labels: Sequence[str], width: float) -> None:
    """One legend of the classes; where targets and biases have other names, one for each."""
    from matplotlib.lines import Line2D

    same = len({tuple(names[label]) for label in labels}) == 1
    handles = []
    for label in labels[:1] if same else labels:
        count = len(names[label])
        for position, name in enumerate(names[label][:MAX_LEGEND]):
            text = f"{name}" if same else f"{label} {name}"
            style = class_style(position, count)
            handles.append(Line2D([], [], linestyle="none", markersize=4, label=text, markeredgewidth=0, **style))
    set_legend(figure, handles, width)
