from io import StringIO
from math import isnan

import pytest
from rich.console import Console

from debiaslab.analysis.result import accuracy_tables, extra_splits, result_of, summary
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.evaluation.selection import parse_rule
from debiaslab.recording.recorder import scalars

CORRECT = {
    "valid": {"debiased": [[4], [4]], "biased": [[3], [3]]},
    "test": {"debiased": [[9, 8], [7, 6]], "biased": [[9, 1], [1, 9]]},
    "test_natural": {"debiased": [[1], [2]], "biased": [[0], [0]]},
    "test_fog": {"debiased": [[4], [0]], "biased": [[1], [0]]},
    "test_snow": {"debiased": [[8], [8]], "biased": [[0], [4]]},
}
TOTAL = {
    "valid": [[5], [5]],
    "test": [[10, 10], [10, 10]],
    "test_natural": [[4], [4]],
    "test_fog": [[4], [4]],
    "test_snow": [[16], [16]],
}
EVALUATION = Evaluation("train", 3, 30, 30, {}, CORRECT)


def history(aligned: bool = False) -> History:
    """A run on data with a biased test split, and three splits whose bias is not known."""
    pairs = [[aligned, False], [False, aligned]]
    return History([EVALUATION], TOTAL, pairs, means={"test_mean": ["test_fog", "test_snow"]})


def printed(table: object) -> list[list[str]]:
    console = Console(file=StringIO(), width=120)
    console.print(table)
    assert isinstance(console.file, StringIO)
    return [line.split() for line in console.file.getvalue().splitlines() if line.strip()]


def test_means_over_splits_are_of_every_branch() -> None:
    values = summary(history(), EVALUATION)
    assert values["test_mean/accuracy"] == pytest.approx((0.5 + 0.5) / 2)
    assert values["test_mean/debiased/accuracy"] == values["test_mean/accuracy"]
    assert values["test_mean/biased/accuracy"] == pytest.approx((1 / 8 + 4 / 32) / 2)  # of splits, whatever their size
    assert values["test_mean/unbiased"] is None
    logged = scalars(history(), EVALUATION, "train")
    assert logged["test_mean/accuracy"] == values["test_mean/accuracy"]
    assert logged["test_mean/biased/accuracy"] == values["test_mean/biased/accuracy"]
    assert isnan(logged["test_mean/unbiased"])
    assert extra_splits(values) == ["test_natural", "test_fog", "test_snow", "test_mean"]


def test_extra_splits_are_below_the_branches() -> None:
    result = result_of(history(aligned=True), "train", parse_rule("last", True, "rule"))
    (table,) = accuracy_tables(result, {})
    title, header, _, *rows = printed(table)
    assert title == ["last,", "train", "epoch", "3"]
    assert header == ["test", "(%)", "unbiased", "aligned", "conflicting", "worst", "group", "all", "images"]
    assert rows[0] == ["debiased", "75.00", "75.00", "75.00", "60.00", "75.00"]
    assert rows[1] == ["biased", "50.00", "90.00", "10.00", "10.00", "50.00"]
    assert rows[-4:] == [
        ["test_natural", "-", "-", "-", "-", "37.50"],
        ["test_fog", "-", "-", "-", "-", "50.00"],
        ["test_snow", "-", "-", "-", "-", "50.00"],
        ["test_mean", "-", "-", "-", "-", "50.00"],
    ]
    assert not any(row[0] == "valid" for row in rows)


def test_metrics_that_no_row_has_are_left_out() -> None:
    (table,) = accuracy_tables(result_of(history(), "train", parse_rule("last", True, "rule")), {})
    _, header, _, *rows = printed(table)
    assert header == ["test", "(%)", "unbiased", "worst", "group", "all", "images"]
    assert rows[0] == ["debiased", "75.00", "60.00", "75.00"]
    assert ["test_mean", "-", "-", "50.00"] in rows


def test_one_split_needs_one_block() -> None:
    only = {name: CORRECT[name] for name in ("test",)}
    evaluation = Evaluation("train", 1, 1, 1, {}, only)
    one = History([evaluation], {"test": TOTAL["test"]}, [[True, False], [False, True]])
    (table,) = accuracy_tables(result_of(one, "train", parse_rule("last", True, "rule")), {})
    assert [row[0] for row in printed(table)[3:]] == ["debiased", "biased"]
