"""How sure the numbers of a table are: intervals of its means, and tests of its rows against one."""

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from statistics import fmean

from debiaslab.analysis.records import Record
from debiaslab.analysis.statistics import bootstrap_interval, holm, t_interval, wilson_interval
from debiaslab.analysis.tables import Cell, Comparison, ResultTable
from debiaslab.core.errors import UserError, one_of, suggestion
from debiaslab.evaluation.selection import parse_rule


def with_intervals(
    table: ResultTable, records: Sequence[Record], percent: float, bootstrap: bool = False
) -> ResultTable:
    """`table` with an interval of each mean over its seeds, at `percent`; of a worst group also Wilson's, over images.

    `records` are those of the table. The means of one seed, or of fewer than a bootstrap needs, have none.
    """
    function = bootstrap_interval if bootstrap else t_interval
    intervals = {place: function(cell.values, percent) for place, cell in table.cells.items()}
    by_id = {record.id: record for record in records}
    kind = "bootstrap over seeds (percentiles)" if bootstrap else "Student's t over seeds"
    facts = {
        place: [*table.facts[place], *_worst_groups(table, [by_id[run_id] for run_id in cell.ids], percent)]
        for place, cell in table.cells.items()
    }
    remarks = [*table.remarks, f"[low, high]: {percent:g} % interval of the mean, {kind}; [-]: too few seeds"]
    return replace(table, intervals=intervals, facts=facts, remarks=remarks)


def _worst_groups(table: ResultTable, records: Sequence[Record], percent: float) -> list[str]:
    """A line for the worst group of each run, with its number of images: what a mean over seeds does not tell."""
    split, _, measure = table.metric.rpartition("/")
    if measure != "worst_group":
        return []
    lines = []
    for record in records:
        history = record.history()
        evaluations = history.of_phase(history.evaluations[-1].phase)
        rule = parse_rule(table.rule, True, "rule")
        worst = (
            history.counts(history.choose(evaluations, rule), split).worst_group() if split in history.total else None
        )
        interval = None if worst is None else wilson_interval(*worst, percent)
        if worst is not None and interval is not None:
            low, high = (100 * end for end in interval)
            place = f"seed {record.config['seed']}: {worst[0]} of {worst[1]} images"
            lines.append(f"worst group, {place}, {percent:g} % interval {low:.1f} to {high:.1f} (Wilson)")
    return lines


def paired_test(first: Cell, second: Cell) -> tuple[float, float, int]:
    """(mean difference in points, p of a two-sided paired t-test, number of pairs), over the seeds that both have.

    p is not-a-number for fewer than two pairs. Raises `UserError` for no common seed.
    """
    from scipy.stats import ttest_rel

    ours, theirs = (dict(zip(cell.seeds, cell.values, strict=True)) for cell in (first, second))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        raise UserError(f"no seed in common: {list(first.seeds)} and {list(second.seeds)}")
    pairs = [(ours[seed], theirs[seed]) for seed in seeds]
    difference = fmean(a - b for a, b in pairs)
    spread = len({a - b for a, b in pairs}) > 1
    p = float(ttest_rel(*zip(*pairs, strict=True)).pvalue) if len(pairs) > 1 and spread else nan
    return difference, p, len(pairs)


def with_tests(table: ResultTable, base: str) -> ResultTable:
    """`table` with a test of each row against the row `base`, where both have a cell and a seed in common.

    The p-values of a column are corrected for the number of its rows. Raises `UserError` for an unknown row.
    """
    if base not in table.rows:
        raise UserError(f"unknown row {base!r}{suggestion(base, table.rows)} one of {one_of(table.rows)}")
    tests: dict[tuple[str, str], Comparison] = {}
    for column in table.columns:
        found: dict[tuple[str, str], tuple[float, float, int]] = {}
        for row in table.rows:
            cell, beside = table.cells.get((row, column)), table.cells.get((base, column))
            if row != base and cell is not None and beside is not None and {*cell.seeds} & {*beside.seeds}:
                found[row, column] = paired_test(cell, beside)
        corrected = holm({place: p for place, (_, p, _) in found.items()})
        count = sum(p == p for _, p, _ in found.values())
        for place, (difference, p, pairs) in found.items():
            tests[place] = Comparison(base, difference, p, corrected[place], pairs, count)
    return replace(table, base=base, tests=tests)


def comparisons(table: ResultTable, base: str) -> list[str]:
    """A line for each test of `with_tests`, which `table` may have already. Raises `UserError` for an unknown row."""
    tested = table if table.base == base else with_tests(table, base)
    return [
        f"{column}: {row} - {base} = {test.difference:+.2f} points, {test.text()} (paired t-test, n={test.pairs})"
        for (row, column), test in tested.tests.items()
    ]
