import csv
import io
import math
from math import isnan
from pathlib import Path
from typing import Any

import numpy
import pytest

from debiaslab.analysis.certainty import comparisons, paired_test
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.table_formats import FORMATS
from debiaslab.analysis.tables import Cell, ResultTable, result_table
from debiaslab.core.errors import UserError
from debiaslab.evaluation.outcomes import tabulate_outcomes
from tests.analysis.recorded import write_record

COLUMN = "colored_mnist, skew 0.005, severity 4"


def table(folder: Path, rule: str = "last", metric: str = "test/unbiased") -> ResultTable:
    return result_table(FileStore(folder).find(EVERYTHING), rule, metric)


def test_mean_and_deviation_over_seeds(tmp_path: Path) -> None:
    ids = [write_record(tmp_path, seed=seed, unbiased=value) for seed, value in ((1, 0.3), (2, 0.4), (3, 0.6))]
    found = table(tmp_path)
    cell = found.cells["erm", COLUMN]
    assert cell.mean == pytest.approx(130 / 3)
    assert cell.std == pytest.approx(15.2752523)  # n - 1
    assert (cell.seeds, cell.ids) == ((1, 2, 3), tuple(ids))
    assert found.published["erm", COLUMN].mean == 35.34
    assert found.published["erm", COLUMN].source == "Sreelatha et al. 2024, Table 1"


def test_one_run_has_no_deviation(tmp_path: Path) -> None:
    write_record(tmp_path)
    cell = table(tmp_path).cells["erm", COLUMN]
    assert isnan(cell.std)
    assert cell.text() == "50.00"


def test_of_a_repeated_run_the_last_counts(tmp_path: Path) -> None:
    write_record(tmp_path, unbiased=0.1, start="2026-11-22T10:00:00")
    again = write_record(tmp_path, unbiased=0.2, start="2026-11-22T11:00:00")
    cell = table(tmp_path).cells["erm", COLUMN]
    assert (cell.values, cell.ids) == ((20.0,), (again,))


def test_runs_that_differ_never_share_a_cell(tmp_path: Path) -> None:
    write_record(tmp_path, method="lff", seed=1)
    write_record(tmp_path, method="lff", seed=2, hparams={"q": 0.5})
    write_record(tmp_path, method="erm", seed=1, data={"protocol": "holdout"})
    write_record(tmp_path, method="erm", seed=2)
    found = table(tmp_path)
    assert set(found.cells) == {
        ("lff (q 0.7)", f"{COLUMN}, protocol published"),
        ("lff (q 0.5)", f"{COLUMN}, protocol published"),
        ("erm", f"{COLUMN}, protocol holdout"),
        ("erm", f"{COLUMN}, protocol published"),
    }


def test_other_data_under_the_same_settings_never_share_a_cell(tmp_path: Path) -> None:
    for seed, fingerprint in ((1, "aaaa"), (2, "bbbb")):
        write_record(tmp_path, seed=seed, info={"data": {"fingerprint": fingerprint}})
    write_record(tmp_path, seed=3)
    columns = {column for _, column in table(tmp_path).cells}
    assert columns == {f"{COLUMN}, data {name}" for name in ("aaaa", "bbbb", "unknown")}


def test_versions_of_the_code_share_a_cell_and_are_told(tmp_path: Path) -> None:
    versions = ({"commit": "1234567890", "changed": False}, {"commit": "1234567890", "changed": True}, {"commit": None})
    for seed, code in enumerate(versions):
        write_record(tmp_path, seed=seed, info={"code": code})
    found = table(tmp_path)
    assert found.cells["erm", COLUMN].code == ("1234567", "1234567+", "unknown")
    note = f"erm on {COLUMN}: runs of 3 versions of the code (1234567, 1234567+, unknown)"
    assert found.notes[0] == note
    assert f"\n\n{note}" in str(FORMATS["markdown"](found))
    assert f"% {note}\n" in str(FORMATS["latex"](found))
    assert "1234567 1234567+ unknown" in str(FORMATS["csv"](found))
    write_record(tmp_path / "one", seed=1)
    assert not any("versions" in note for note in table(tmp_path / "one").notes)


def test_what_keeps_numbers_from_being_those_of_papers_is_told(tmp_path: Path) -> None:
    write_record(tmp_path / "whole", method="lff", hparams={"epochs": None, "num_steps": 23_500})
    assert table(tmp_path / "whole").published
    labels, of_paper = table(tmp_path / "whole").notes
    assert labels == "bias labels: 0 for training, 0 for selection, - for evaluation alone; validation images: -"
    assert of_paper.startswith(
        "Sreelatha et al. 2024 report means of 5 seeds; DeNetDM's weights were chosen on the test"
    )
    holdout = {"protocol": "holdout"}
    for method in ("erm", "lff"):
        hparams = {"epochs": None, "num_steps": 20}
        write_record(tmp_path / "short", run_id=method, method=method, data=holdout, hparams=hparams, limit=500)
    found = table(tmp_path / "short")
    assert found.notes[:-2] == [
        f"erm, lff on {COLUMN}: evaluated on 500 images of each split",
        f"erm, lff on {COLUMN}: protocol holdout; the papers use published",
        f"erm, lff on {COLUMN}: num_steps 20, where the recipe has num_steps 23500",
    ]
    write_record(tmp_path / "short", data={"protocol": "published"}, hparams={"num_steps": 23_500})
    column = f"{COLUMN}, protocol published"  # named where it differs
    assert [note for note in table(tmp_path / "short").notes if column in note] == []


def test_runs_in_other_folders_are_runs_on_the_same_data(tmp_path: Path) -> None:
    """So what they differ in tells them apart."""
    for seed, (root, num_steps) in enumerate((("/A", 23_500), ("/B", 20))):
        write_record(tmp_path, seed=seed, data={"root": root}, hparams={"num_steps": num_steps})
    assert set(table(tmp_path).rows) == {"erm (num_steps 23500)", "erm (num_steps 20)"}


def test_deviations_name_rows_whatever_the_data(tmp_path: Path) -> None:
    """Unless they are common to all runs of the method."""
    for skew, batch_size in ((0.005, 8), (0.01, 16)):
        write_record(tmp_path, data={"skew": skew}, hparams={"num_steps": 20, "batch_size": batch_size})
    assert set(table(tmp_path).rows) == {"erm (batch_size 8)", "erm (batch_size 16)"}


def test_training_that_is_not_the_recipe_s_is_told_beside_a_published_number(tmp_path: Path) -> None:
    hparams = {"num_steps": 23_500, "batch_size": 8, "learning_rate": 1e-3}
    write_record(tmp_path, hparams=hparams, model={"name": "mlp", "pretrained": "none", "hparams": {"widths": [9]}})
    notes = table(tmp_path).notes
    assert f"erm on {COLUMN}: batch_size 8, where the recipe has 256" in notes
    assert f"erm on {COLUMN}: widths [9], where the recipe has [100, 100, 100]" in notes
    assert len(notes) == 4  # and bias labels, and what the paper's are


def test_weights_that_were_chosen_on_test_images_on_the_way_are_told(tmp_path: Path) -> None:
    """Under any rule, in every format."""
    write_record(tmp_path, method="lff_be", hparams={"ensemble_selection": "oracle_test_accuracy"})
    found = table(tmp_path)
    note = "ensemble_selection oracle_test_accuracy (chosen on test images)"
    for name in ("markdown", "latex", "csv"):
        assert note in str(FORMATS[name](found))
    assert f"lff_be on {COLUMN}: {note}" in found.notes


def test_evaluations_of_the_weights_of_other_runs_are_no_seeds(tmp_path: Path) -> None:
    write_record(tmp_path, seed=1, unbiased=0.3)
    write_record(tmp_path, seed=1, unbiased=0.9, command="evaluate", start="2026-11-22T12:00:00")
    assert table(tmp_path).cells["erm", COLUMN].values == (30.0,)


def test_unfinished_runs_have_no_cell(tmp_path: Path) -> None:
    write_record(tmp_path, status="RUNNING")
    with pytest.raises(UserError, match="no complete run with a result under the rule last"):
        table(tmp_path)


def test_a_rule_that_was_not_recorded_is_applied_to_the_evaluations(tmp_path: Path) -> None:
    write_record(tmp_path)
    found = table(tmp_path, "oracle_test_worst_group", "test/accuracy")
    assert found.title == "test/accuracy (%), oracle_test_worst_group (chosen on test images)"
    assert found.cells["erm", COLUMN].mean == pytest.approx(100 * 8 / 12)  # the second: 4 + 1 + 1 + 2 of 12


def test_bad_questions(tmp_path: Path) -> None:
    write_record(tmp_path)
    with pytest.raises(UserError, match=r"unknown metric 'test/unbised'; did you mean 'test/unbiased'\?"):
        table(tmp_path, metric="test/unbised")
    with pytest.raises(UserError, match=r"unknown rule rule='lst'; did you mean 'last'\?"):
        table(tmp_path, "lst")
    with pytest.raises(UserError, match="no run has the metric test/conflicting"):
        table(tmp_path, metric="test/conflicting")


def test_formats(tmp_path: Path) -> None:
    ids = [write_record(tmp_path, seed=seed, unbiased=value) for seed, value in ((1, 0.3), (2, 0.4))]
    found = table(tmp_path)
    markdown: Any = FORMATS["markdown"](found)
    assert markdown.startswith("**test/unbiased (%), last**\n\n| method |")
    assert "| erm | 35.00 ± 7.07 (n=2)<br>paper 35.34 ± 0.13 (-0.34) |" in markdown
    latex: Any = FORMATS["latex"](found)
    assert r"colored\_mnist" in latex
    assert r"erm & 35.00 $\pm$ 7.07 (n=2); paper 35.34 $\pm$ 0.13 (-0.34) \\" in latex
    assert r"\caption{test/unbiased (\%), last}" in latex
    assert latex.count("&") == 2  # one in each line of header and body
    (row,) = csv.DictReader(io.StringIO(FORMATS["csv"](found)))
    assert (row["metric"], row["rule"]) == ("test/unbiased", "last")
    assert (row["mean"], row["n"], row["published"], row["runs"]) == ("35.0000", "2", "35.34", " ".join(ids))


def test_names_from_records_are_text_and_nothing_else(tmp_path: Path) -> None:
    write_record(tmp_path, method="=1+1|<b>\x1b[2J")
    write_record(tmp_path, method="\\input{/etc/passwd} $x$ ~^\n\\end", data={"skew": 0.1})
    formats = {name: FORMATS[name](table(tmp_path)) for name in ("markdown", "latex", "csv")}
    assert "| =1+1\\|&lt;b&gt;\\\\x1b\\[2J |" in formats["markdown"]
    assert r"=1+1|\textless{}b\textgreater{}\textbackslash{}x1b{[}2J & " in formats["latex"]
    assert (
        r"\textbackslash{}input\{/etc/passwd\} \$x\$ \textasciitilde{}\textasciicircum{} \textbackslash{}end & -"
        in formats["latex"]
    )
    methods = {row["method"] for row in csv.DictReader(io.StringIO(formats["csv"]))}
    assert methods == {r"'=1+1|<b>\x1b[2J", r"\input{/etc/passwd} $x$ ~^ \end"}


def test_what_is_missing_of_a_split_is_told_with_its_metrics(tmp_path: Path) -> None:
    note = "test: without severity 3"
    write_record(tmp_path, info={"data": {"notes": [note, "valid: of no concern", "test images: 5"]}})
    assert table(tmp_path).notes[0] == f"erm on {COLUMN}: {note}"
    assert not any("of no concern" in line or line.endswith("images: 5") for line in table(tmp_path).notes)


def test_paired_test() -> None:
    first = Cell((50.0, 60.0, 70.0), ("a", "b", "c"), (1, 2, 3))
    second = Cell((69.0, 48.0, 58.0), ("d", "e", "f"), (3, 1, 2))
    difference, p, pairs = paired_test(first, second)
    assert pairs == 3
    assert difference == pytest.approx(5 / 3)
    assert p == pytest.approx(0.0377, abs=1e-3)  # t = 5 with two degrees of freedom
    assert isnan(paired_test(first, Cell((48.0,), ("e",), (1,)))[1])
    with pytest.raises(UserError, match="no seed in common"):
        paired_test(first, Cell((48.0,), ("e",), (9,)))


def test_comparisons_with_one_method(tmp_path: Path) -> None:
    for method, values in (("erm", (0.3, 0.4, 0.5)), ("lff", (0.4, 0.5, 0.7))):
        for seed, value in enumerate(values):
            write_record(tmp_path, method=method, seed=seed, unbiased=value)
    (line,) = comparisons(table(tmp_path), "erm")
    assert line == f"{COLUMN}: lff - erm = +13.33 points, p = 0.0572 (paired t-test, n=3)"
    with pytest.raises(UserError, match="unknown row 'em'; did you mean 'erm'"):
        comparisons(table(tmp_path), "em")


def facts_of_data(**changed: Any) -> dict[str, Any]:
    return {
        "data": {
            "labelled": {"train": 55_000, "valid": 5_000, "test": 10_000},
            "conflicting": {"train": 274, "valid": 4_500, "test": 9_000},
            "validation": "no bias",
        }
        | changed
    }


def test_bias_labels_are_told_below_the_table_and_in_columns(tmp_path: Path) -> None:
    info = facts_of_data()
    write_record(tmp_path, run_id="1", info=info)
    write_record(tmp_path, run_id="2", method="end", info=info)
    shared = "15,000 for evaluation alone; validation images: no bias"
    assert table(tmp_path).notes[:2] == [
        f"erm on {COLUMN}: bias labels: 0 for training, 0 for selection, {shared}",
        f"end on {COLUMN}: bias labels: 55,000 for training, 0 for selection, {shared}",
    ]
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](table(tmp_path)))))
    names = ("labels_training", "labels_selection", "labels_evaluation", "validation")
    assert [[row[name] for name in names] for row in rows] == [
        ["0", "0", "15000", "no bias"],
        ["55000", "0", "15000", "no bias"],
    ]


def test_rules_between_phases_take_bias_labels_too(tmp_path: Path) -> None:
    hparams = {"hand_over": "best_valid_conflicting"}
    write_record(tmp_path, method="denetdm", hparams=hparams, info=facts_of_data())
    line = "bias labels: 0 for training, 5,000 for selection, 10,000 for evaluation alone; validation images: no bias"
    assert line in table(tmp_path).notes
    assert line in str(FORMATS["markdown"](table(tmp_path)))


def test_metrics_that_older_runs_did_not_record(tmp_path: Path) -> None:
    """They follow from the counts; what needs outcomes is not known."""
    write_record(tmp_path)
    assert table(tmp_path, metric="test/worst_class").cells["erm", COLUMN].mean == pytest.approx(50)  # 3 of 6
    with pytest.raises(UserError, match="no run has the metric test/ece: they were recorded before it was"):
        table(tmp_path, metric="test/ece")


def test_outcomes_beside_an_older_run_without_them(tmp_path: Path) -> None:
    usual = numpy.eye(2, dtype=bool)
    group, predicted = [0] * 4 + [1] * 2 + [2] * 2 + [3] * 4, [0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0]
    arrays = numpy.array(group), numpy.array(predicted), numpy.full(12, 0.75)
    outcomes = tabulate_outcomes(arrays[0], (2, 2), arrays[1], arrays[2], -numpy.log(arrays[2]), usual)
    write_record(tmp_path, method="lff", outcomes={"test": outcomes.as_dict()})
    write_record(tmp_path, method="erm")
    found = table(tmp_path, metric="test/nll")
    assert found.title == "test/nll (nats), last"
    assert [row for row, _ in found.cells] == ["lff"]
    assert found.cells["lff", COLUMN].mean == pytest.approx(-math.log(0.75), abs=1e-5)
    assert table(tmp_path, metric="test/ece").cells["lff", COLUMN].mean == pytest.approx(100 / 12)
