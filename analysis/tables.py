"""Tables of results: methods x variants, mean and standard deviation over seeds, with published numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from statistics import fmean, stdev

from debiaslab.analysis.bias_labels import bias_labels_of
from debiaslab.analysis.frames import results_frame
from debiaslab.analysis.published_numbers import PublishedNumber, notes_on_papers, notes_on_run, published_result
from debiaslab.analysis.records import Record
from debiaslab.analysis.statistics import Interval
from debiaslab.analysis.table_names import column_names, row_names
from debiaslab.core.errors import UserError, one_of, suggestion
from debiaslab.evaluation.bias_labels import BiasLabels
from debiaslab.evaluation.metrics import METRICS
from debiaslab.evaluation.outcomes import OUTCOME_METRICS, scale_of
from debiaslab.evaluation.selection import parse_rule

Place = tuple[str, str]  # row, column


@dataclass(frozen=True)
class Cell:
    """The metric of the runs `ids`, in percent or nats, one value each; `code` are the versions that made them."""

    values: tuple[float, ...]
    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    code: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def std(self) -> float:
        """The sample standard deviation over seeds (n - 1); NaN for one run."""
        return stdev(self.values) if len(self.values) > 1 else nan

    def text(self, separator: str = " +- ") -> str:
        spread = f"{separator}{self.std:.2f}" if len(self.values) > 1 else ""
        return f"{self.mean:.2f}{spread}"


@dataclass(frozen=True)
class Comparison:
    """A cell against that of the row `base`: mean difference in points, p of a paired t-test over `pairs` seeds, and p
    by Holm's correction for `count` tests; both not-a-number where no test is possible."""

    base: str
    difference: float
    p: float
    p_holm: float
    pairs: int
    count: int

    def text(self) -> str:
        if self.p != self.p:
            return "no test possible"
        return f"p = {self.p:.3g}" + (f", {self.p_holm:.3g} by Holm for {self.count} rows" if self.count > 1 else "")


@dataclass(frozen=True)
class ResultTable:
    """Results of methods (rows) on data (columns): `metric` under the selection rule `rule`.

    `cells` and `published` map (row, column) to our and the papers' numbers, `facts` to notes on a cell, `labels` to
    the bias labels used. `remarks` are notes on the whole table, of which `on_papers` define the papers' numbers.
    `intervals` of the means are None if not requested, and None for a cell if there are too few seeds. `tests` compare
    rows with the row `base`. `column_metrics` has the metrics of columns in a table of several; `best` marks cells.
    """

    metric: str
    rule: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[Place, Cell]
    published: Mapping[Place, PublishedNumber]
    facts: Mapping[Place, Sequence[str]]
    labels: Mapping[Place, BiasLabels]
    remarks: Sequence[str]
    on_papers: Sequence[str] = ()
    intervals: Mapping[Place, Interval | None] | None = None
    base: str | None = None
    tests: Mapping[Place, Comparison] = field(default_factory=dict)
    column_metrics: Mapping[str, str] = field(default_factory=dict)
    best: frozenset[Place] = frozenset()
    caption: str | None = None
    label: str | None = None
    has_notes: bool = True

    @property
    def notes(self) -> list[str]:
        """The notes below the table: on cells, where equal notes of a column are merged, and on the whole table."""
        if not self.has_notes:
            return []
        labels = {place: [found.text()] for place, found in self.labels.items()}
        shared = {text for texts in labels.values() for text in texts}
        what = [] if self.caption is None else [self._content]
        return [*what, *_by_column(self.facts), *(shared if len(shared) == 1 else _by_column(labels)), *self.remarks]

    @property
    def title(self) -> str:
        """The caption; by default the metrics and the rule, marked if it selects on test images."""
        return self.caption or self._content

    @property
    def _content(self) -> str:
        metrics = dict.fromkeys(self.column_metrics.values()) or [self.metric]
        shown = ", ".join(f"{metric} ({scale_of(metric)[1]})" for metric in metrics)
        return f"{shown}, {parse_rule(self.rule, True, 'rule').label}"

    def metric_of(self, column: str) -> str:
        """Return the metric of a column."""
        return self.column_metrics.get(column, self.metric)


def _by_column(facts: Mapping[Place, Sequence[str]]) -> list[str]:
    rows: dict[Place, list[str]] = {}
    for (row, column), of_cell in facts.items():
        for fact in of_cell:
            rows.setdefault((column, fact), []).append(row)
    return [f"{', '.join(of_rows)} on {column}: {fact}" for (column, fact), of_rows in rows.items()]


def result_table(records: Sequence[Record], rule: str, metric: str) -> ResultTable:
    """One cell for each method (and other differing settings) and data set variant; `metric` such as "test/unbiased".

    Runs that differ in more than their seed never share a cell, nor do those whose data differ. Runs of different
    versions of the code do, with a note. Runs that evaluated the weights of others are left out. Raises `UserError` if
    there are no runs, for an unknown rule or metric, and for a run whose evaluations are needed but damaged.
    """
    (table,) = result_tables(records, [rule], metric)
    return table


def result_tables(
    records: Sequence[Record], rules: Sequence[str], metric: str, left_out: Callable[[str], None] | None = None
) -> list[ResultTable]:
    """The `result_table` of each rule; evaluations are read once. Damaged runs are passed to `left_out`."""
    trained = [record for record in records if record.trained]
    if records and not trained:
        raise UserError("these runs evaluated the weights of others, and are not in tables; list=True shows them")
    by_id = {record.id: record for record in trained}
    frame = results_frame(trained, rules, left_out, [metric])
    tables = []
    for rule in rules:
        chosen = frame[frame["rule"] == rule] if len(frame) else frame
        if chosen.empty:
            raise UserError(f"no complete run with a result under the rule {rule}")
        metrics = [name for name in chosen.columns if "/" in name]
        split, _, measure = metric.rpartition("/")
        if metric not in metrics and measure in OUTCOME_METRICS and f"{split}/{METRICS[0]}" in metrics:
            raise UserError(f"no run has the metric {metric}: they were recorded before it was")
        if metric not in metrics:
            raise UserError(f"unknown metric {metric!r}{suggestion(metric, metrics)} one of {one_of(metrics)}")
        kept = [by_id[run_id] for run_id in chosen["id"]]
        values = dict(zip(chosen["id"], chosen[metric], strict=True))
        tables.append(fill_table(kept, row_names(kept), column_names(kept), values, rule, metric))
    return tables


def fill_table(
    records: Sequence[Record],
    rows: Mapping[str, str],
    columns: Mapping[str, str],
    values: Mapping[str, float | None],
    rule: str,
    metric: str,
) -> ResultTable:
    """Build the table of `values` in [0, 1], the `metric` of each run under `rule`; `rows` and `columns` name its cell.

    All three are keyed by run id. Raises `UserError` if no run has a value.
    """
    members: dict[Place, dict[int, tuple[str, float]]] = {}
    for record in records:
        value = values[record.id]
        if value is None or value != value:
            continue
        place, seed = (rows[record.id], columns[record.id]), record.config["seed"]
        # of runs that were repeated, the last one counts
        members.setdefault(place, {})[seed] = (record.id, scale_of(metric)[0] * float(value))
    if not members:
        raise UserError(f"no run has the metric {metric}: its data has no such images or no bias labels")
    by_id = {record.id: record for record in records}
    cells = {place: _cell(runs, by_id) for place, runs in members.items()}
    configs = {place: by_id[cell.ids[0]].config for place, cell in cells.items()}  # its runs differ only in their seed
    published = {
        place: found for place, config in configs.items() if (found := published_result(config, metric)) is not None
    }
    names = [tuple(dict.fromkeys(name for place in cells for name in [place[axis]])) for axis in (0, 1)]
    labels = {place: bias_labels_of(by_id[cell.ids[0]], rule) for place, cell in cells.items()}
    facts = {
        place: [
            *notes_on_run(config, place in published, column=place[1]),
            *notes_on_data(by_id[cells[place].ids[0]], metric),
            *_notes_on_versions(cells[place]),
        ]
        for place, config in configs.items()
    }
    on_papers = notes_on_papers({found.source for found in published.values()})
    in_order = _sorted_columns(names[1])
    return ResultTable(metric, rule, names[0], in_order, cells, published, facts, labels, on_papers, on_papers)


def _cell(runs: Mapping[int, tuple[str, float]], records: Mapping[str, Record]) -> Cell:
    seeds = tuple(sorted(runs))
    ids = tuple(runs[seed][0] for seed in seeds)
    code = tuple(dict.fromkeys(records[run_id].code for run_id in ids))
    return Cell(tuple(runs[seed][1] for seed in seeds), ids, seeds, code)


def notes_on_data(record: Record, metric: str) -> list[str]:
    """The notes of a run's data set on the split of `metric`, such as missing images."""
    split, _ = metric.rsplit("/", 1)
    return [note for note in record.info.get("data", {}).get("notes", []) if note.startswith(f"{split}: ")]


def _notes_on_versions(cell: Cell) -> list[str]:
    several = len(cell.code) > 1
    return [f"runs of {len(cell.code)} versions of the code ({', '.join(cell.code)})"] if several else []


def _sorted_columns(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
