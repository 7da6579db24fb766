"""Rank correlations of methods between data sets and between rules, from records."""

import csv
import io
import json
from pathlib import Path

import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.rank_formats import RANK_FORMATS
from debiaslab.analysis.ranks import DATA, RULES, RankTable, rank_tables
from debiaslab.core.errors import UserError
from tests.analysis.recorded import write_record
from tests.conftest import Command

METHODS = ("erm", "lff", "disent", "denetdm")
SKEWS = (0.005, 0.02, 0.05)
FIRST, SECOND, THIRD = (f"colored_mnist, skew {skew}, severity 4" for skew in SKEWS)
BEST = "best_valid_accuracy"


def write(folder: Path, method: str, skew: float, last: float, best: float | None = None, tuned: int = 0) -> None:
    """A run whose test/unbiased is `last` under the rule last, and `best` under `BEST`."""
    run_id = write_record(folder, method=method, unbiased=last, data={"skew": skew})
    run = json.loads((folder / run_id / "run.json").read_text())
    run["result"][BEST] = {**run["result"]["last"], "test/unbiased": last if best is None else best}
    (folder / run_id / "run.json").write_text(json.dumps(run))
    if tuned:
        config = json.loads((folder / run_id / "config.json").read_text())
        marks = {"search": "mine", "tuned": tuned, "objective": "valid/accuracy"}
        (folder / run_id / "config.json").write_text(json.dumps(config | marks))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two data sets that disagree on one of six pairs of methods; a third one with two of the methods."""
    for method, one, other in zip(METHODS, (0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.4, 0.3), strict=True):
        write(tmp_path / "runs", method, SKEWS[0], one, best=1 - one)
        write(tmp_path / "runs", method, SKEWS[1], other)
    for method in METHODS[:2]:
        write(tmp_path / "runs", method, SKEWS[2], 0.5)
    return tmp_path / "runs"


def ranks(folder: Path, *rules: str) -> list[RankTable]:
    return rank_tables(FileStore(folder).find(EVERYTHING), rules or ("last", BEST), "test/unbiased")


def test_agreement_of_data_sets(folder: Path) -> None:
    (table,) = ranks(folder, "last")
    assert (table.of, table.within, table.names) == (DATA, "last", (FIRST, SECOND, THIRD))
    assert table.cells[FIRST, SECOND].tau == pytest.approx(4 / 6)
    assert table.cells[SECOND, FIRST].text() == "0.67 (n=4)"
    assert table.cells[FIRST, FIRST].text() == "1.00 (n=4)"
    assert (table.cells[FIRST, THIRD].methods, table.cells[FIRST, THIRD].text()) == (("erm", "lff"), "-")


def test_agreement_of_rules(folder: Path) -> None:
    tables = [table for table in ranks(folder) if table.of == RULES]
    assert [table.within for table in tables] == [FIRST, SECOND, THIRD]
    found = {table.within: table.cells["last", BEST].text() for table in tables}
    assert found == {FIRST: "-1.00 (n=4)", SECOND: "1.00 (n=4)", THIRD: "-"}


def test_equal_results_are_no_ranking(tmp_path: Path) -> None:
    for method in METHODS:
        write(tmp_path, method, SKEWS[0], 0.5, best=0.1 * METHODS.index(method))
    (table,) = ranks(tmp_path)
    assert table.cells["last", BEST].text() == "-"


def test_a_method_with_several_rows_is_left_out_and_a_tuned_one_is_another(folder: Path) -> None:
    write(folder, "erm", SKEWS[0], 0.9, tuned=5)
    write(folder, "erm", SKEWS[1], 0.9, tuned=5)
    write(folder, "erm", SKEWS[2], 0.9, tuned=1)
    (table,) = ranks(folder, "last")
    assert table.cells[FIRST, SECOND].methods == ("denetdm", "disent", "erm", "erm (tuned, 5 trials)", "lff")
    assert table.cells[THIRD, THIRD].methods == ("erm", "erm (tuned, 1 trial)", "lff")
    write_record(folder, method="lff", hparams={"q": 0.1}, data={"skew": SKEWS[0]})
    (table,) = ranks(folder, "last")
    assert table.cells[FIRST, SECOND].methods == ("denetdm", "disent", "erm", "erm (tuned, 5 trials)")
    assert table.notes[-1] == (
        f"lff on {FIRST} is left out: it has several rows there, lff (q 0.1); lff (q 0.7); select one by its settings"
    )


def test_a_single_ranking_is_compared_with_nothing(tmp_path: Path) -> None:
    write(tmp_path, "erm", SKEWS[0], 0.5)
    with pytest.raises(UserError, match=rf"^nothing to compare: there are only runs on {FIRST} under rule=last; name"):
        ranks(tmp_path, "last")


def test_formats(folder: Path) -> None:
    tables = ranks(folder)
    markdown = RANK_FORMATS["markdown"](tables)
    assert len(markdown) == 5  # three data sets by two rules
    assert f"| {FIRST} | 1.00 (n=4) | 0.67 (n=4) | - |\n" in markdown[0]
    latex = RANK_FORMATS["latex"](tables)[0]
    assert r"\caption{agreement of data sets: test/unbiased, last}" in latex
    assert r"colored\_mnist, skew 0.005, severity 4 & 1.00 (n=4) & 0.67 (n=4) & - \\" in latex
    rows = list(csv.DictReader(io.StringIO(RANK_FORMATS["csv"](tables)[0])))
    assert len(rows) == 2 * 3 + 3
    first = {"metric": "test/unbiased", "of": DATA, "within": "last", "first": FIRST, "second": SECOND}
    assert rows[0] == first | {"tau": "0.6667", "n": "4", "methods": "denetdm; disent; erm; lff"}
    assert (rows[1]["tau"], rows[1]["n"]) == ("-", "2")


def test_the_command(command: Command, folder: Path) -> None:
    outcome = command("results", "with", "kind=ranks", "rule=last", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert "agreement of data sets: test/unbiased, last" in outcome.out
    assert "0.67 (n=4)" in outcome.out
    for words, error in (
        (["against=erm"], "against= is an option of tables of results; leave it out with kind=ranks"),
        (["interval=95"], "interval= is an option of tables of results; leave it out with kind=ranks"),
        (["bold=True"], "bold= is an option of tables of results; leave it out with kind=ranks"),
        (["rule=last", "data.skew=0.005"], "nothing to compare: there are only runs on colored_mnist, skew 0.005"),
        (["kind=rank"], "unknown kind 'rank'; did you mean 'ranks'?"),
    ):
        refused = command("results", "with", "kind=ranks", *words, data=False)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith(f"error: {error}")
        assert refused.err.count("\n") == 1
