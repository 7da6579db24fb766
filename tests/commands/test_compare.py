"""`main.py compare`: runs side by side, by id, by folder, from files and from a real MongoDB."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.commands import for_parser
from debiaslab.commands.compare import run_table
from tests.analysis.recorded import write_record
from tests.conftest import Command


@pytest.mark.long
def test_runs_by_id_by_folder_and_by_words(command: Command, port: int) -> None:
    address = f"localhost:{port}:compare"
    ids = [command("-m", address, "with", "smoke", f"method={name}").runs[0].name for name in ("denetdm", "erm")]
    outcome = command("compare", *ids, data=False)
    assert (outcome.code, outcome.err, outcome.runs) == (0, "", [])
    titles = next(line for line in outcome.out.splitlines() if "denetdm on digits" in line)
    assert "erm on digits" in titles
    for text in (
        *ids,
        "unbiased",
        "aligned",
        "conflicting",
        "worst group",
        "all images",
        "best_valid_unbiased",
        "last",
    ):
        assert text in outcome.out
    for words in ((f"runs/{ids[0]}", ids[1]), ("runs",), ("with", f"id={ids[0]},{ids[1]}"), ("with", "smoke")):
        assert command("compare", *words, data=False).out == outcome.out, words
    assert command("-m", address, "compare", *ids, data=False).out == outcome.out
    one = command("compare", *ids, "with", "method=erm", data=False).out
    assert "erm on digits" in one
    assert "denetdm" not in one


def test_incomplete_and_damaged_runs_are_left_out(command: Command, tmp_path: Path) -> None:
    complete = write_record(tmp_path / "runs")
    running = write_record(tmp_path / "runs", status="RUNNING")
    damaged = write_record(tmp_path / "runs")
    (tmp_path / "runs" / damaged / "run.json").write_text("{")
    outcome = command("compare", "runs", data=False)
    assert outcome.code == 0
    assert complete in outcome.out
    assert f"left out: the run {running} is not complete: no sign of life since 20" in outcome.err
    assert f"left out: the record runs/{damaged} is damaged" in outcome.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["20261122-100000-aaab"], "no recorded run '20261122-100000-aaab'; did you mean 20261122-100000-aaaa"),
        (["20261122-100000-bbbb"], "none of these runs is complete"),
        (["20261122-100000-cccc"], "the record runs/20261122-100000-cccc is damaged: run.json"),
        (["runs/20261122-100000-cccc"], "is damaged: run.json"),
        (["empty"], "no recorded run in empty"),
        (["with", "log_dir=none"], "no folder of records none"),
        (["with", "metod=erm"], "no run has a setting 'metod'"),
    ],
)
def test_bad_names(command: Command, tmp_path: Path, words: list[str], error: str) -> None:
    (tmp_path / "empty").mkdir()
    write_record(tmp_path / "runs", run_id="20261122-100000-aaaa")
    write_record(tmp_path / "runs", run_id="20261122-100000-bbbb", status="FAILED")
    damaged = write_record(tmp_path / "runs", run_id="20261122-100000-cccc")
    (tmp_path / "runs" / damaged / "run.json").write_text("{")
    outcome = command("compare", *words, data=False)
    assert (outcome.code, outcome.out) == (2, "")
    last = outcome.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert error in last


def test_extra_splits_are_shown(tmp_path: Path) -> None:
    run_id = write_record(tmp_path)
    path = tmp_path / run_id / "run.json"
    run = json.loads(path.read_text())
    run["result"]["last"] |= {"test_mean/f/accuracy": 0.5, "test_mean/accuracy": 0.5}
    path.write_text(json.dumps(run))
    (record,) = FileStore(tmp_path).find(EVERYTHING)
    console = Console(file=StringIO(), width=120)
    console.print(run_table(record))
    assert isinstance(console.file, StringIO)
    assert any("test_mean: all images" in line and "50.00" in line for line in console.file.getvalue().splitlines())


@pytest.mark.parametrize(
    ("line", "known_as"),
    [
        ("compare a runs/b", "compare with id=a,runs/b"),
        ("rerun a with device=cpu", "rerun with id=a device=cpu"),
        ("-m host:1:db rerun a", "-m host:1:db rerun with id=a"),
        ("rerun a -m host:1:db with x=1", "rerun -m host:1:db with id=a x=1"),
        ("-m rerun results", "-m rerun results"),
        ("compare with id=a", "compare with id=a"),
        ("rerun", "rerun"),
        ("results a", "results a"),
        ("with compare rerun", "with compare rerun"),
    ],
)
def test_runs_after_a_command(line: str, known_as: str) -> None:
    assert for_parser(line.split()) == known_as.split()
