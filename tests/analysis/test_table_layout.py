"""Tables laid out for a paper: names, order, best values, several metrics side by side, LaTeX that compiles."""

import csv
import io
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from debiaslab.analysis.certainty import with_intervals, with_tests
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.table_formats import FORMATS, as_csv
from debiaslab.analysis.table_layout import Layout, best_places, lay_out, side_by_side
from debiaslab.analysis.tables import ResultTable, result_table
from debiaslab.core.errors import UserError
from tests.analysis.recorded import write_record
from tests.conftest import Command

COLUMN = "colored_mnist, skew 0.005, severity 4"
RESULTS = {("erm", 1): 0.3, ("erm", 2): 0.4, ("lff", 1): 0.6, ("lff", 2): 0.7, ("denetdm", 1): 0.2}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for (method, seed), unbiased in RESULTS.items():
        write_record(tmp_path / "runs", method=method, seed=seed, unbiased=unbiased)
    return tmp_path / "runs"


def table(folder: Path, metric: str = "test/unbiased") -> ResultTable:
    return result_table(FileStore(folder).find(EVERYTHING), "last", metric)


def test_names_and_order(records: Path) -> None:
    layout = Layout({"lff": "LfF", "colored_mnist": "CMNIST"}, order=["lff", "denetdm"], published=False)
    found = lay_out(with_tests(table(records), "erm"), layout)
    assert found.rows == ("LfF", "denetdm", "erm")
    assert found.columns == ("CMNIST, skew 0.005, severity 4",)
    assert found.cells["LfF", found.columns[0]].mean == pytest.approx(65)
    assert found.tests["LfF", found.columns[0]].base == "erm"
    assert found.published == {}
    assert not any("report" in note for note in found.notes)
    assert any(note.startswith("Sreelatha et al. 2024 report") for note in table(records).notes)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout({"lfff": "LfF"}), r"unknown name 'names=lfff'; did you mean 'lff'\?"),
        (Layout(order=["em"]), r"unknown method 'order=em'; did you mean 'erm'\?"),
        (Layout({"lff": "A", "erm": "A"}), "'A' would be the name of several rows or columns"),
    ],
)
def test_mistakes(records: Path, layout: Layout, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lay_out(table(records), layout)


def test_the_best_mean_of_a_column_is_marked(records: Path) -> None:
    found = lay_out(table(records), Layout(bold=True))
    assert found.best == {("lff", COLUMN)}
    assert r"lff & \textbf{65.00 $\pm$ 7.07} (n=2)" in str(FORMATS["latex"](found))
    assert "| lff | **65.00 ± 7.07** (n=2)" in str(FORMATS["markdown"](found))
    assert best_places(table(records, "test/accuracy")) == {  # all three have the same counts
        (method, COLUMN) for method in ("denetdm", "erm", "lff")
    }


def test_several_metrics_side_by_side(records: Path) -> None:
    tables = [table(records, metric) for metric in ("test/unbiased", "test/accuracy")]
    found = side_by_side(tables)
    assert found.columns == (f"{COLUMN}, test/unbiased", f"{COLUMN}, test/accuracy")
    assert [found.cells["lff", column].mean for column in found.columns] == [
        each.cells["lff", COLUMN].mean for each in tables
    ]
    assert found.title == "test/unbiased (%), test/accuracy (%), last"
    assert len(found.notes) == len(set(found.notes))
    assert found.notes == table(records).notes
    rows = list(csv.DictReader(io.StringIO(as_csv(*tables))))
    assert [row["metric"] for row in rows] == ["test/unbiased"] * 3 + ["test/accuracy"] * 3


def test_words(records: Path, command: Command) -> None:
    shown = command(
        *("results", "with", "metric=test/unbiased,test/accuracy", "one_table=True", "format=latex", "bold=True"),
        *("names=lff:LfF", "order=lff", "published=False", "notes=False", "caption=50 % & more", "label=tab:a_b"),
        data=False,
    )
    assert (shown.code, shown.err) == (0, "")
    assert r"\caption{50 \% \& more}" in shown.out
    assert r"\label{tab:a_b}" in shown.out
    assert shown.out.count(r"\begin{table}") == 1
    assert "paper" not in shown.out
    assert [line for line in shown.out.splitlines() if line.startswith("%")] == [r"% needs \usepackage{booktabs}"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("label=tab:x", "label=tab:x: only LaTeX tables have labels; add format=latex"),
        ("label=}", "label=}: must be letters, digits"),
        ("names=lff", "names=lff: write pairs such as names=erm:ERM,denetdm:DeNetDM"),
        ("caption=x metric=test/unbiased,test/accuracy", "caption=x: there are 2 tables; choose one"),
    ],
)
def test_wrong_words(records: Path, command: Command, word: str, message: str) -> None:
    outcome = command("results", "with", *word.split(), data=False)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def has_latex() -> bool:
    if shutil.which("pdflatex") is None:
        return False
    return subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_latex(), reason="pdflatex with booktabs is not installed")
def test_latex_compiles_in_every_combination(records: Path, tmp_path: Path) -> None:
    write_record(records, method='[odd] <a> "b" ~^\\é 中', unbiased=0.1)
    write_record(records, method="worst", unbiased=0.1, data={"skew": 0.1})
    found = FileStore(records).find(EVERYTHING)
    parts = []
    for bold, published, notes, sure in product((False, True), repeat=4):
        layout = Layout({"lff": "LfF $x_1$"}, ["lff"], bold, published, notes, "100 % of_it", "tab:x")
        tables = [table(records, metric) for metric in ("test/unbiased", "test/accuracy", "test/worst_group")]
        if sure:
            tables = [with_tests(with_intervals(each, found, 95), "erm") for each in tables]
        parts += [str(FORMATS["latex"](lay_out(each, layout))) for each in (tables[2], side_by_side(tables))]
    document = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}", *parts, r"\end{document}"]
    (tmp_path / "tables.tex").write_text("\n".join(document), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]
