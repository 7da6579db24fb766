import csv
import io
from math import isnan, nan
from pathlib import Path
from statistics import fmean

import pytest
from scipy.stats import binomtest, false_discovery_control, ttest_1samp

from debiaslab.analysis.certainty import comparisons, with_intervals, with_tests
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.statistics import bootstrap_interval, holm, t_interval, wilson_interval
from debiaslab.analysis.table_formats import FORMATS
from debiaslab.analysis.tables import ResultTable, result_table
from debiaslab.core.errors import UserError
from tests.analysis.recorded import write_record
from tests.conftest import Command

COLUMN = "colored_mnist, skew 0.005, severity 4"
VALUES = (30.0, 40.0, 60.0, 55.0)


def table(folder: Path, metric: str = "test/unbiased", percent: float | None = None) -> ResultTable:
    records = FileStore(folder).find(EVERYTHING)
    found = result_table(records, "last", metric)
    return found if percent is None else with_intervals(found, records, percent)


# ---- statistics


@pytest.mark.parametrize("percent", [90, 95])
def test_student_s_interval(percent: float) -> None:
    expected = ttest_1samp(VALUES, 0).confidence_interval(percent / 100)
    assert t_interval(VALUES, percent) == pytest.approx(tuple(expected))
    assert t_interval((50.0,), percent) is None


def test_bootstrap_interval() -> None:
    assert bootstrap_interval((1.0, 2.0), 95) is None
    found = bootstrap_interval(VALUES, 95)
    assert found is not None
    assert found == bootstrap_interval(VALUES, 95)
    assert min(VALUES) < found[0] < fmean(VALUES) < found[1] < max(VALUES)
    assert bootstrap_interval((5.0, 5.0, 5.0), 95) == (5.0, 5.0)


@pytest.mark.parametrize(("correct", "total"), [(0, 4), (2, 4), (4, 4), (37, 90)])
def test_wilson_s_interval(correct: int, total: int) -> None:
    expected = binomtest(correct, total).proportion_ci(0.95, "wilson")
    assert wilson_interval(correct, total, 95) == pytest.approx((expected.low, expected.high))
    assert wilson_interval(0, 0, 95) is None


def test_holm_s_correction() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": nan})
    assert [found[name] for name in "abc"] == pytest.approx([0.03, 0.06, 0.06])
    assert isnan(found["d"])
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert all(found[name] >= p for name, p in zip("abc", false_discovery_control([0.01, 0.04, 0.03]), strict=True))


# ---- tables


def test_intervals_in_every_format(tmp_path: Path) -> None:
    for seed, value in enumerate((0.3, 0.4, 0.6)):
        write_record(tmp_path, seed=seed, unbiased=value, run_id=f"{seed}")
    write_record(tmp_path, method="lff", unbiased=0.5, run_id="lff")
    found = table(tmp_path, percent=95)
    assert found.intervals is not None
    assert found.intervals["erm", COLUMN] == pytest.approx((5.3875, 81.2792), abs=1e-3)
    assert found.intervals["lff", COLUMN] is None
    assert "| erm | 43.33 [5.39, 81.28] (n=3)" in FORMATS["markdown"](found)
    assert "50.00 [-] (n=1)" in FORMATS["latex"](found)
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](found))))
    assert [(row["low"], row["high"]) for row in rows] == [("5.3875", "81.2792"), ("-", "-")]
    assert any("95 % interval of the mean, Student's t over seeds" in note for note in found.notes)


def test_the_worst_group_has_wilson_s_interval_and_its_size(tmp_path: Path) -> None:
    write_record(tmp_path)
    facts = table(tmp_path, "test/worst_group", 95).facts["erm", COLUMN]
    assert facts[-1] == "worst group, seed 1: 1 of 2 images, 95 % interval 9.5 to 90.5 (Wilson)"


def test_p_is_corrected_for_the_rows_of_a_column(tmp_path: Path) -> None:
    values = {"erm": (0.3, 0.4, 0.5), "lff": (0.4, 0.5, 0.7), "disent": (0.31, 0.40, 0.52)}
    for method, of_seed in values.items():
        for seed, value in enumerate(of_seed):
            write_record(tmp_path, method=method, seed=seed, unbiased=value, run_id=f"{len(method)}-{method}-{seed}")
    write_record(tmp_path, method="rebias", seed=9, unbiased=0.4)  # no seed in common
    found = with_tests(table(tmp_path), "erm")
    assert {row for row, _ in found.tests} == {"lff", "disent"}
    lff, disent = (found.tests[row, COLUMN] for row in ("lff", "disent"))
    assert (lff.p, disent.p) == pytest.approx((0.0572, 0.2254), abs=1e-3)
    assert (lff.p_holm, disent.p_holm) == pytest.approx((0.1144, 0.2254), abs=1e-3)
    assert "p = 0.0572, 0.114 by Holm for 2 rows (paired t-test, n=3)" in comparisons(table(tmp_path), "erm")[0]
    for name in ("markdown", "latex"):
        assert "p, against erm" in FORMATS[name](found)
        assert "0.0572 (Holm 0.114)" in FORMATS[name](found)
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(FORMATS["csv"](found)))}
    assert [rows["lff"][name] for name in ("against", "difference", "pairs")] == ["erm", "13.3333", "3"]
    assert float(rows["lff"]["p_holm"]) == pytest.approx(0.1144, abs=1e-3)
    assert rows["erm"]["p"] == rows["rebias"]["p"] == ""


def test_words(command: Command, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_record(tmp_path / "runs", seed=seed, unbiased=seed / 10)
    shown = command("results", "with", "interval=95", "format=markdown", data=False)
    assert "15.00 [-48.53, 78.53] (n=2)" in shown.out
    assert (
        "15.00 [-] (n=2)"
        in command("results", "with", "interval=95", "bootstrap=True", "format=markdown", data=False).out
    )
    for words, message in (
        (["interval=100"], "interval=100: must be a number above 0 and below 100"),
        (["interval=many"], "interval=many: must be a number"),
        (["bootstrap=True"], "ask for one with interval=95"),
    ):
        outcome = command("results", "with", *words, data=False)
        assert outcome.code == 2
        assert message in outcome.err


def test_an_unknown_row(tmp_path: Path) -> None:
    write_record(tmp_path)
    with pytest.raises(UserError, match="unknown row 'em'; did you mean 'erm'"):
        with_tests(table(tmp_path), "em")
