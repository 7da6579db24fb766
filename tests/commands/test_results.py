"""`main.py results`, from files and from a real MongoDB."""

import json
from pathlib import Path

import pandas
import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.frames import curves_frame, groups_frame, results_frame
from debiaslab.analysis.mongo_store import MongoStore
from debiaslab.analysis.query import EVERYTHING, Query
from debiaslab.core.errors import UserError
from debiaslab.recording.server import free_port
from tests.analysis.recorded import write_record
from tests.conftest import Command


def test_the_words_of_a_run_find_it_again(command: Command) -> None:
    words = ("with", "digits", "smoke", "skewed4", "method=erm")
    (folder,) = command(*words).runs
    command("with", "digits", "smoke", "skewed1", "method=erm")
    outcome = command("results", *words, data=False)
    assert (outcome.code, outcome.err, outcome.runs) == (0, "", [])
    assert "erm" in outcome.out
    assert "skew 0.005" in outcome.out
    assert "skew 0.05\n" not in outcome.out
    assert "best_valid_unbiased" in outcome.out
    listed = command("results", *words, "list=True", data=False).out
    assert folder.name in listed
    assert listed.count("completed") == 1


@pytest.mark.long
def test_files_and_mongodb_give_the_same_answers(command: Command, port: int, tmp_path: Path) -> None:
    for method, seed in (("erm", 1), ("erm", 2), ("denetdm", 1)):
        command("-m", f"localhost:{port}:same", "with", "smoke", f"method={method}", f"seed={seed}")
    stores = FileStore(tmp_path / "runs"), MongoStore(f"localhost:{port}:same")
    for query in (EVERYTHING, Query({"method.name": "erm"}), Query({"seed": 1, "data.skew": 0.02}, "COMPLETED")):
        files, mongo = (store.find(query) for store in stores)
        assert [record.id for record in files] == [record.id for record in mongo]
        assert len(files) in (2, 3)
        for frame in (results_frame, groups_frame, curves_frame):
            expected, found = (frame(records).drop(columns=["start", "seconds"]) for records in (files, mongo))
            pandas.testing.assert_frame_equal(found, expected, check_exact=True)
    in_files, in_mongo = (store.find(EVERYTHING)[0] for store in stores)
    assert set(in_mongo.artifact_names()) == set(in_files.artifact_names())
    assert in_mongo.artifact("curves.png") == in_files.artifact("curves.png")
    assert in_mongo.start is not None
    assert in_files.start is not None
    assert abs((in_mongo.start - in_files.start).total_seconds()) < 0.001
    table = command("-m", f"localhost:{port}:same", "results", data=False)
    assert (table.code, table.out) == (0, command("results", data=False).out)
    assert "(n=2)" in table.out


def test_mongodb_that_does_not_answer() -> None:
    with pytest.raises(UserError, match=rf"MongoDB at localhost:{free_port()}:x cannot be queried|cannot be queried"):
        MongoStore(f"localhost:{free_port()}:x").find(EVERYTHING)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["method=lf"], "unknown method 'lf'; did you mean 'lff'?"),
        (["skewd1"], "unknown named configuration 'skewd1'; did you mean 'skewed1'?"),
        (["skewed1", "skewed2"], "skewed1 and skewed2 contradict each other, data.skew=0.05 and data.skew=0.02"),
        (["status=done"], "unknown status 'done'; one of completed"),
        (["since=yesterday"], "since='yesterday' is not a date; write it as 2026-11-22"),
        (["format=word"], "unknown format 'word'"),
        (["rule=best"], "unknown rule rule='best'"),
        (["seed=17"], "no recorded run matches; `python main.py results with list=True` shows all"),
        (["against=lff"], "unknown"),
        (
            ["metric=test/unbised"],
            "unknown metric 'test/unbised'; did you mean 'test/unbiased'? one of test/accuracy, ",
        ),
        (["metric=unbiased"], "unknown metric 'unbiased'; did you mean 'test/unbiased'? one of test/accuracy, "),
        (
            ["metrc=test/unbiased"],
            "no run has a setting 'metrc'; did you mean 'metric'? words of this command: against,",
        ),
        (["listt=True"], "no run has a setting 'listt'; did you mean 'list'? words of this command: against,"),
        (["sead=None"], "no run has a setting 'sead'; did you mean 'seed'?"),
        (["log_dir=none"], "no folder of records none; name one with log_dir=DIR"),
    ],
)
def test_bad_questions(command: Command, tmp_path: Path, words: list[str], error: str) -> None:
    write_record(tmp_path / "runs")
    outcome = command("results", "with", *words, data=False)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {error}")
    assert outcome.err.count("\n") == 1


def test_damaged_records_are_told(command: Command, tmp_path: Path) -> None:
    write_record(tmp_path / "runs")
    bad = write_record(tmp_path / "runs")
    (tmp_path / "runs" / bad / "run.json").write_text("{")
    outcome = command("results", data=False)
    assert outcome.code == 0
    assert outcome.err.startswith(f"left out: the record runs/{bad} is damaged: run.json")


def test_a_run_whose_evaluations_are_damaged_is_left_out_where_they_are_needed(
    command: Command, tmp_path: Path
) -> None:
    write_record(tmp_path / "runs", seed=1)
    bad = write_record(tmp_path / "runs", seed=2)
    (tmp_path / "runs" / bad / "evaluations.jsonl").write_text("{")
    outcome = command("results", "with", "rule=oracle_test_accuracy", data=False)
    assert (outcome.code, "(n=1)" in outcome.out) == (0, True)
    assert outcome.err.startswith(f"left out: the evaluations of the run {bad} are damaged")
    assert "(n=2)" in command("results", "with", "rule=last", data=False).out


def test_evaluations_of_the_weights_of_others_are_told_from_trainings(command: Command, tmp_path: Path) -> None:
    write_record(tmp_path / "runs", command="evaluate")
    assert "erm, evaluated" in command("results", "with", "list=True", data=False).out
    error = "error: these runs evaluated the weights of others, and are not in tables; list=True shows them\n"
    assert command("results", data=False).err == error


def test_incense_objects(command: Command, port: int) -> None:
    """What docs/results.md says of them, on runs that recorded themselves and on copies."""
    address = f"localhost:{port}:incense"
    (folder,) = command("-m", address, "with", "smoke", "method=lff").runs
    command("with", "smoke", "method=lff", "seed=2")
    command("-m", address, "sync", data=False)
    store = MongoStore(address)
    assert {experiment.config.seed for experiment in store.experiments(Query({"method.name": "lff"}))} == {1, 2}
    for record in store.find(EVERYTHING):
        experiment = store.experiment(record)
        assert experiment.run_id == record.id
        assert experiment.config.method.hparams.q == 0.7
        series = experiment.metrics["test/unbiased"]
        assert isinstance(series, pandas.Series)
        assert (series.index.name, list(series.index)) == ("step", [20])
        assert series.iloc[-1] == (record.result or {})["last"]["test/unbiased"]
        assert type(experiment.artifacts["curves.png"]).__name__ == "ImageArtifact"
        assert experiment.artifacts["curves.png"].render().data == record.artifact("curves.png")
    assert len(store.experiments(Query({}, ids=[folder.name], status="COMPLETED"))) == 1


def test_runs_that_go_on_are_read_anew(command: Command, port: int, tmp_path: Path) -> None:
    address = f"localhost:{port}:anew"
    (folder,) = command("with", "smoke", "method=erm").runs
    evaluations = (folder / "evaluations.jsonl").read_text()
    run = json.loads((folder / "run.json").read_text())
    earlier = dict.fromkeys(("start_time", "heartbeat"), "2026-11-22T10:00:00")
    (folder / "run.json").write_text(json.dumps(run | earlier | {"status": "RUNNING", "stop_time": None}))
    (folder / "evaluations.jsonl").write_text(evaluations.splitlines()[0] + "\n")
    command("-m", address, "sync", data=False)
    store = MongoStore(address)
    assert store.find(EVERYTHING)[0].history().evaluations == []
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "evaluations.jsonl").write_text(evaluations)
    command("-m", address, "sync", data=False)
    assert len(store.find(EVERYTHING)[0].history().evaluations) == 1
