"""The kinds of figures of `main.py plots`, by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debiaslab.analysis.bias_labels import bias_labels_of
from debiaslab.analysis.plots.curves import curves
from debiaslab.analysis.plots.decodability import decodability
from debiaslab.analysis.plots.embeddings import embeddings_figure, features_of_test_images
from debiaslab.analysis.plots.figure import NamedFigure
from debiaslab.analysis.plots.groups import groups
from debiaslab.analysis.plots.hardest import NUM_ROWS, SHOWN_PER_ROW, hardest_figure, hardest_images
from debiaslab.analysis.plots.ratios import ratios
from debiaslab.analysis.plots.run_groups import RunGroup, file_name
from debiaslab.analysis.plots.weights import weights
from debiaslab.analysis.records import Record
from debiaslab.analysis.restored_run import RestoredRun, restore_run
from debiaslab.analysis.result import chosen_on_test
from debiaslab.core.errors import UserError
from debiaslab.evaluation.selection import parse_rule

Cells = Mapping[str, Sequence[RunGroup]]  # data set -> its cells


@dataclass(frozen=True)
class PlotOptions:
    """How to draw. `places` are settings of this machine, such as data.root, for what needs images and networks.

    `left_out` is told of each run that cannot be drawn, and why, where others can.
    """

    left_out: Callable[[str], None]
    columns: int = 2  # of a page: 1 or 2
    rule: str = "last"
    metric: str = "test/unbiased"
    phase: str | None = None
    band: str = "minmax"
    projections: Sequence[str] = ("pca", "tsne")
    places: Mapping[str, Any] | None = None


Kind = Callable[[Cells, PlotOptions], Iterator[NamedFigure]]


def each_run(
    cells: Cells, options: PlotOptions, kind: str, draw: Callable[[RestoredRun, list[str]], Any]
) -> Iterator[NamedFigure]:
    """A figure of the run with the lowest seed of each cell, restored with the weights selected by the rule.

    Raises `UserError` if no run can be rebuilt.
    """
    failed: dict[str, list[str]] = {}  # why -> which runs
    count = 0
    for data, members in cells.items():
        for cell in members:
            record = cell.records[0]
            try:
                run = restore_run(record, options.rule, options.places or {})
                figure = draw(run, [f"{cell.row}, seed {record.config['seed']}: {data}", *weights_notes(run, record)])
            except UserError as error:
                failed.setdefault(str(error), []).append(record.id)
                continue
            count += 1
            yield NamedFigure(file_name(kind, data, cell.row, f"seed {record.config['seed']}", options.rule), figure)
    if not count and len(failed) == 1:
        raise UserError(next(iter(failed)))
    for reason, runs in failed.items():
        options.left_out(f"{kind} of {', '.join(runs[:2])}{f' and {len(runs) - 2} more' * (len(runs) > 2)}: {reason}")
    if not count:
        raise UserError("no run can be rebuilt from its record")


def weights_notes(run: RestoredRun, record: Record) -> list[str]:
    """The rule and the evaluation of the weights, and rules between phases that select on test images."""
    label = parse_rule(run.facts["rule"], True, "rule").label
    place = f"{run.facts['phase']} epoch {run.facts['epoch']}"
    labels = bias_labels_of(record, run.facts["rule"]).text()
    return [f"weights: {label}, {place}", *chosen_on_test(record.config), labels]


def embeddings(cells: Cells, options: PlotOptions) -> Iterator[NamedFigure]:
    def draw(run: RestoredRun, title: list[str]) -> Any:
        features, labels = features_of_test_images(run)
        names = {"target": run.data.class_labels(), "bias": run.data.bias_labels()}
        above = f"Features of {len(labels):,} test images: {title[0]}"
        return embeddings_figure(features, labels, names, options.projections, [above, *title[1:]], options.columns)

    return each_run(cells, options, "embeddings", draw)


def hardest(cells: Cells, options: PlotOptions) -> Iterator[NamedFigure]:
    count = SHOWN_PER_ROW[options.columns] * NUM_ROWS[options.columns]

    def draw(run: RestoredRun, title: list[str]) -> Any:
        return hardest_figure(hardest_images(run, count), title, options.columns)

    return each_run(cells, options, "hardest", draw)


KINDS: dict[str, Kind] = {
    "curves": lambda cells, options: iter(curves(cells, options.phase, options.band, options.columns)),
    "groups": lambda cells, options: iter(groups(cells, options.rule, options.columns)),
    "weights": lambda cells, options: iter(weights(cells, options.columns)),
    "ratios": lambda cells, options: iter(ratios(cells, options.rule, options.metric, options.columns)),
    "decodability": lambda cells, options: iter(decodability(cells, options.phase, options.band, options.columns)),
    "embeddings": embeddings,
    "hardest": hardest,
}
