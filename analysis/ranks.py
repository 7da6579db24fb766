"""Rank correlations of methods between data sets, and between selection rules, from recorded results.

A benchmark is evidence for another one as far as both rank methods alike (Bell et al. 2024, arXiv:2409.04188), and a
comparison that another rule turns around is one of rules.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from debiaslab.analysis.records import Record
from debiaslab.analysis.table_names import shown_tuning
from debiaslab.analysis.tables import ResultTable, result_tables
from debiaslab.core.errors import UserError
from debiaslab.evaluation.outcomes import is_lower_better
from debiaslab.evaluation.selection import parse_rule

FEWEST = 3  # methods; two are ranked alike, or the other way round
DATA, RULES = "data sets", "selection rules"
Scores = Mapping[str, float]  # method -> mean over seeds


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b of two rankings of `methods`; not-a-number for fewer than `FEWEST`, or if one is all ties."""

    tau: float
    methods: tuple[str, ...]

    def text(self) -> str:
        return "-" if self.tau != self.tau else f"{self.tau:.2f} (n={len(self.methods)})"


@dataclass(frozen=True)
class RankTable:
    """How far the rankings by `metric` agree between `names`, which are of the kind `of` (`DATA` or `RULES`).

    `within` is what they have in common: the rule, or the data set. `cells` has all pairs of names.
    """

    metric: str
    of: str
    within: str
    names: tuple[str, ...]
    cells: Mapping[tuple[str, str], Agreement]
    notes: Sequence[str]

    @property
    def title(self) -> str:
        return f"agreement of {self.of}: {self.metric}, {self.within}"


def rank_tables(
    records: Sequence[Record], rules: Sequence[str], metric: str, left_out: Callable[[str], None] | None = None
) -> list[RankTable]:
    """The agreement of data sets under each of `rules`, and of `rules` on each data set, by the means of `metric`.

    Raises `UserError` if there is a single one of both, and as `result_tables`.
    """
    tables = result_tables(records, rules, metric, left_out)
    scores: dict[str, dict[str, Scores]] = {}  # rule -> data set -> method -> mean
    notes: dict[str, list[str]] = {}  # data set -> what is not ranked there
    for table in tables:
        scores[table.rule] = {}
        for column in table.columns:
            scores[table.rule][column], several = scores_on(table, column, records)
            notes.setdefault(column, []).extend(note for note in several if note not in notes.get(column, []))
    found = [*_of_data(metric, scores, notes), *_of_rules(metric, scores, notes)]
    if not found:
        places = "; ".join(f"{', '.join(by_data)} under rule={rule}" for rule, by_data in scores.items())
        raise UserError(
            f"nothing to compare: there are only runs on {places}; name several rules, as rule=last,best_valid_accuracy"
            ", or select runs on several data sets"
        )
    return found


def scores_on(table: ResultTable, column: str, records: Sequence[Record]) -> tuple[Scores, list[str]]:
    """The mean of each method in `column`, and notes on methods that are left out, as they have several rows there.

    Rows of other settings than another data set's are one method; the best settings of searches are another.
    """
    configs = {record.id: record.config for record in records}
    rows: dict[str, list[str]] = {}
    for (row, place), cell in table.cells.items():
        if place == column:
            rows.setdefault(method_of(configs[cell.ids[0]]), []).append(row)
    notes = [
        f"{method} on {column} is left out: it has several rows there, {'; '.join(sorted(several))};"
        " select one by its settings"
        for method, several in rows.items()
        if len(several) > 1
    ]
    return {method: table.cells[own[0], column].mean for method, own in rows.items() if len(own) == 1}, notes


def method_of(config: Mapping[str, Any]) -> str:
    """The method of a run, and by how many trials it was tuned, if it was."""
    tuned = shown_tuning(config.get("tuned"))
    return f"{config['method']['name']} ({', '.join(tuned)})" if tuned else str(config["method"]["name"])


def agreement(first: Scores, second: Scores) -> Agreement:
    """Kendall's tau-b over the methods that both have."""
    from scipy.stats import kendalltau

    methods = tuple(sorted(first.keys() & second.keys()))
    if len(methods) < FEWEST:
        return Agreement(nan, methods)
    return Agreement(float(kendalltau([first[m] for m in methods], [second[m] for m in methods]).statistic), methods)


def _of_data(
    metric: str, scores: Mapping[str, Mapping[str, Scores]], notes: Mapping[str, Sequence[str]]
) -> Iterator[RankTable]:
    for rule, by_data in scores.items():
        if len(by_data) > 1:
            own = [note for column in by_data for note in notes[column]]
            yield _table(metric, DATA, parse_rule(rule, True, "rule").label, by_data, own)


def _of_rules(
    metric: str, scores: Mapping[str, Mapping[str, Scores]], notes: Mapping[str, Sequence[str]]
) -> Iterator[RankTable]:
    for column in notes:
        by_rule = {
            parse_rule(rule, True, "rule").label: by_data[column]
            for rule, by_data in scores.items()
            if column in by_data
        }
        if len(by_rule) > 1:
            yield _table(metric, RULES, column, by_rule, notes[column])


def _table(metric: str, of: str, within: str, scores: Mapping[str, Scores], notes: Sequence[str]) -> RankTable:
    names = tuple(scores)
    cells = {(first, second): agreement(scores[first], scores[second]) for first in names for second in names}
    order = "lowest" if is_lower_better(metric) else "highest"
    what = f"Kendall's tau-b of the methods ranked by their means over seeds, n methods in common, {order} first"
    return RankTable(metric, of, within, names, cells, [what, f"-: fewer than {FEWEST} methods, or all alike", *notes])
