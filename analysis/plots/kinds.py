"""The kinds of pictures that `main.py plots` draws, by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debiaslab.analysis.plots.cells import Cell, file_name
from debiaslab.analysis.plots.curves import curves
from debiaslab.analysis.plots.decodability import decodability
from debiaslab.analysis.plots.embeddings import embeddings_figure, features_of_test_images
from debiaslab.analysis.plots.figure import Named
from debiaslab.analysis.plots.groups import groups
from debiaslab.analysis.plots.hardest import NUM_ROWS, SHOWN_PER_ROW, hardest_figure, hardest_images
from debiaslab.analysis.plots.ratios import ratios
from debiaslab.analysis.plots.weights import weights
from debiaslab.analysis.rebuilt import Rebuilt, rebuilt
from debiaslab.analysis.records import Record
from debiaslab.analysis.result import chosen_on_test
from debiaslab.core.errors import UserError
from debiaslab.evaluation.selection import parse_rule

Cells = Mapping[str, Sequence[Cell]]  # data set -> its cells


@dataclass(frozen=True)
class Wishes:
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


Kind = Callable[[Cells, Wishes], Iterator[Named]]


def each_run(cells: Cells, wishes: Wishes, kind: str, draw: Callable[[Rebuilt, list[str]], Any]) -> Iterator[Named]:
    """A picture of the run with the lowest seed of each cell, rebuilt with the weights that the rule chose.

    Raises `UserError` if no run can be rebuilt.
    """
    failed: dict[str, list[str]] = {}  # why -> which runs
    count = 0
    for data, members in cells.items():
        for cell in members:
            record = cell.records[0]
            try:
                run = rebuilt(record, wishes.rule, wishes.places or {})
                figure = draw(run, [f"{cell.row}, seed {record.config['seed']}: {data}", *weights_notes(run, record)])
            except UserError as error:
                failed.setdefault(str(error), []).append(record.id)
                continue
            count += 1
            yield Named(file_name(kind, data, cell.row, f"seed {record.config['seed']}", wishes.rule), figure)
    if not count and len(failed) == 1:
        raise UserError(next(iter(failed)))
    for reason, runs in failed.items():
        wishes.left_out(f"{kind} of {', '.join(runs[:2])}{f' and {len(runs) - 2} more' * (len(runs) > 2)}: {reason}")
    if not count:
        raise UserError("no run can be rebuilt from its record")


def weights_notes(run: Rebuilt, record: Record) -> list[str]:
    """The rule and the evaluation that the weights are of, and rules between phases that go by test images."""
    label = parse_rule(run.facts["rule"], True, "rule").label
    place = f"{run.facts['phase']} epoch {run.facts['epoch']}"
    return [f"weights: {label}, {place}", *chosen_on_test(record.config)]


def embeddings(cells: Cells, wishes: Wishes) -> Iterator[Named]:
    def draw(run: Rebuilt, title: list[str]) -> Any:
        features, labels = features_of_test_images(run)
        names = {"target": run.data.class_labels(), "bias": run.data.bias_labels()}
        above = f"Features of {len(labels):,} test images: {title[0]}"
        return embeddings_figure(features, labels, names, wishes.projections, [above, *title[1:]], wishes.columns)

    return each_run(cells, wishes, "embeddings", draw)


def hardest(cells: Cells, wishes: Wishes) -> Iterator[Named]:
    count = SHOWN_PER_ROW[wishes.columns] * NUM_ROWS[wishes.columns]

    def draw(run: Rebuilt, title: list[str]) -> Any:
        return hardest_figure(hardest_images(run, count), title, wishes.columns)

    return each_run(cells, wishes, "hardest", draw)


KINDS: dict[str, Kind] = {
    "curves": lambda cells, wishes: iter(curves(cells, wishes.phase, wishes.band, wishes.columns)),
    "groups": lambda cells, wishes: iter(groups(cells, wishes.rule, wishes.columns)),
    "weights": lambda cells, wishes: iter(weights(cells, wishes.columns)),
    "ratios": lambda cells, wishes: iter(ratios(cells, wishes.rule, wishes.metric, wishes.columns)),
    "decodability": lambda cells, wishes: iter(decodability(cells, wishes.phase, wishes.band, wishes.columns)),
    "embeddings": embeddings,
    "hardest": hardest,
}
