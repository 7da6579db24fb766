import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from debiaslab.analysis import file_store, record_index
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING, Query
from debiaslab.core.errors import UserError
from tests.analysis.recorded import write_record


def ids(folder: Path, query: Query) -> list[str]:
    return [record.id for record in FileStore(folder).find(query)]


def test_a_record(tmp_path: Path) -> None:
    run_id = write_record(tmp_path, method="lff", seed=3, unbiased=0.25)
    (record,) = FileStore(tmp_path).find(EVERYTHING)
    assert (record.id, record.status, record.seconds) == (run_id, "COMPLETED", 90)
    assert record.start == datetime(2026, 11, 22, 10)
    assert record.config["method"]["name"] == "lff"
    assert record.result is not None
    assert record.result["last"]["test/unbiased"] == 0.25
    assert record.info == {"code": {"commit": "abc"}}
    assert [evaluation.step for evaluation in record.history().evaluations] == [10, 20]
    assert record.artifact_names() == ["evaluations.jsonl"]
    with pytest.raises(UserError, match=r"cannot read .*none\.png"):
        record.artifact("none.png")


def test_a_run_that_gives_no_sign_of_life_is_said_to_be_silent(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    for status, minutes, state in (
        ("RUNNING", 5, "running"),
        ("RUNNING", 200, f"no sign of life since {now - timedelta(minutes=200):%Y-%m-%d %H:%M} UTC"),
        ("INTERRUPTED", 200, "interrupted"),
    ):
        folder = tmp_path / f"{status}-{minutes}"
        write_record(folder, status=status, start=(now - timedelta(minutes=minutes)).isoformat())
        (record,) = FileStore(folder).find(EVERYTHING)
        assert (record.status, record.state, record.seconds) == (status, state, None)
        write_entry(folder / record.id, heartbeat=now.isoformat())
        (record,) = FileStore(folder).find(EVERYTHING)
        assert record.state == status.lower()
        assert record.seconds == pytest.approx(60 * minutes)


def write_entry(folder: Path, **values: Any) -> None:
    """Change what Sacred has written of the run."""
    entry = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(entry | values))


def test_conditions(tmp_path: Path) -> None:
    first = write_record(tmp_path, method="erm", seed=1, start="2026-11-20T10:00:00")
    second = write_record(tmp_path, method="lff", seed=2, start="2026-11-21T10:00:00")
    third = write_record(tmp_path, method="lff", seed=2, start="2026-11-22T10:00:00", status="RUNNING")
    assert ids(tmp_path, EVERYTHING) == [first, second, third]
    assert ids(tmp_path, Query({"method.name": "lff"})) == [second, third]
    assert ids(tmp_path, Query({"method.name": "lff", "method.hparams.q": 0.7}, status="COMPLETED")) == [second]
    assert ids(tmp_path, Query({"seed": 1})) == [first]
    assert ids(tmp_path, Query({"seed": True})) == []  # 1 is no truth value
    assert ids(tmp_path, Query({"model.hparams.widths": [100, 100, 100]})) == [first, second, third]
    assert ids(tmp_path, Query({}, since=datetime(2026, 11, 21))) == [second, third]
    assert ids(tmp_path, Query({}, until=datetime(2026, 11, 21))) == [first]
    assert ids(tmp_path, Query({}, ids=[third, first])) == [first, third]


def test_an_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    write_record(tmp_path)
    with pytest.raises(UserError, match=r"no run has a setting 'data\.skw'; did you mean 'data\.skew'\?"):
        ids(tmp_path, Query({"data.skw": 1}))


def test_the_index_follows_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_record(tmp_path, status="RUNNING")
    second = write_record(tmp_path)
    assert set(ids(tmp_path, EVERYTHING)) == {first, second}
    read: list[Path] = []
    original = file_store.read_json

    def watched(folder: Path, name: str) -> dict[str, Any]:
        read.append(folder)
        return original(folder, name)

    monkeypatch.setattr(file_store, "read_json", watched)
    assert set(ids(tmp_path, EVERYTHING)) == {first, second}
    assert read == []  # nothing has changed: no record is opened
    run = tmp_path / first / "run.json"
    run.write_text(run.read_text().replace("RUNNING", "COMPLETED"))
    third = write_record(tmp_path)
    for file in (tmp_path / second).iterdir():
        file.unlink()
    (tmp_path / second).rmdir()
    found = FileStore(tmp_path).find(EVERYTHING)
    assert {record.id: record.status for record in found} == {first: "COMPLETED", third: "COMPLETED"}
    assert {folder.name for folder in read} == {first, third}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "COMPLETED"}', '{"seed": 1, "data": "\\ud800"}'])
@pytest.mark.parametrize("name", ["run.json", "config.json"])
def test_damaged_records_are_told_and_left_out(tmp_path: Path, name: str, content: str) -> None:
    good, bad = write_record(tmp_path), write_record(tmp_path)
    (tmp_path / bad / name).write_text(content)
    store = FileStore(tmp_path)
    assert [record.id for record in store.find(EVERYTHING)] == [good]
    (problem,) = store.problems
    assert bad in problem
    assert "is damaged" in problem


def test_a_folder_without_records_is_told(tmp_path: Path) -> None:
    (tmp_path / "20261122-100000-aaaa").mkdir()
    store = FileStore(tmp_path)
    assert store.find(EVERYTHING) == []
    assert "run.json: No such file" in store.problems[0]


def test_other_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("cache", "images"):
        (tmp_path / name).mkdir()
    run_id = write_record(tmp_path)
    store = FileStore(tmp_path)
    assert [record.id for record in store.find(EVERYTHING)] == [run_id]
    assert not store.problems


def test_a_number_that_is_not_finite_is_told_and_harms_no_other_record(tmp_path: Path) -> None:
    """SQLite reads none in JSON; records of earlier versions may have one."""
    good, bad = write_record(tmp_path), write_record(tmp_path, hparams={"learning_rate": float("inf")})
    store = FileStore(tmp_path)
    assert [record.id for record in store.find(Query({"method.name": "erm"}))] == [good]
    assert store.problems == [f"the record {tmp_path / bad} is damaged: a number in it is not finite"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    run_id = write_record(tmp_path)
    tmp_path.chmod(0o555)
    try:
        assert ids(tmp_path, EVERYTHING) == [run_id]
    finally:
        tmp_path.chmod(0o755)


def test_a_damaged_index_is_no_obstacle(tmp_path: Path) -> None:
    run_id = write_record(tmp_path)
    (tmp_path / file_store.INDEX).write_bytes(b"this is no database" * 100)
    assert ids(tmp_path, EVERYTHING) == [run_id]


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    """Also where SQLite sees nothing wrong: a setting that has another value than was written."""
    run_id = write_record(tmp_path, method="erm")
    write_record(tmp_path, method="lff")
    path = tmp_path / file_store.INDEX
    for damage in (
        lambda content: content.replace(b'"erm"', b'"lff"'),
        lambda content: content[:5000],
        lambda _: b"x" * 99,
    ):
        assert len(ids(tmp_path, EVERYTHING)) == 2
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert path.read_bytes() != whole
        assert ids(tmp_path, Query({"method.name": "erm"})) == [run_id]
        assert path.stat().st_size == len(whole)


def test_a_locked_index_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "LOCK_SECONDS", 0.01)
    run_id = write_record(tmp_path)
    with closing(sqlite3.connect(tmp_path / file_store.INDEX, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert ids(tmp_path, EVERYTHING) == [run_id]


def test_an_index_that_leads_elsewhere_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE runs (mine)")
    before = other.read_bytes()
    run_id = write_record(tmp_path / "runs")
    (tmp_path / "runs" / file_store.INDEX).symlink_to(other)
    assert ids(tmp_path / "runs", EVERYTHING) == [run_id]
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    "place", ["../secret", "{folder}/secret", "link", "folder", "fifo", "circle", "a\0b", "x" * 300]
)
def test_paths_that_lead_out_of_a_record_are_refused(tmp_path: Path, place: str) -> None:
    run_id = write_record(tmp_path)
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / run_id
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (record,) = FileStore(tmp_path).find(EVERYTHING)
    with pytest.raises(UserError, match="cannot read "):
        record.artifact(place.format(folder=tmp_path))
    write_entry(folder, experiment={"sources": [["main.py", f"_sources/../{run_id}/{place}"]]})
    with pytest.raises(UserError, match="cannot read "):
        record.store.sources(record)


SHAPES = (
    ("config.json", ("data", "name"), 3),
    ("config.json", ("seed",), "1"),
    ("config.json", ("method", "hparams"), [1]),
    ("config.json", ("data", "rho"), {"a": None}),
    ("config.json", ("method", "hparams", "q"), 10**400),
    ("config.json", ("comment",), "\ud800"),
    ("run.json", ("result", "last", "test/unbiased"), 1e300),
    ("run.json", ("result", "last", "epoch"), None),
    ("run.json", ("result",), [1]),
    ("run.json", ("start_time",), "yesterday"),
    ("run.json", ("artifacts",), {"a": 1}),
    ("info.json", ("data",), [None]),
    ("info.json", ("data",), {"classes": "0123456789"}),
    ("info.json", ("code", "commit"), 5),
)


@pytest.mark.parametrize(("name", "path", "value"), SHAPES)
def test_wrong_shapes_are_told_and_left_out(tmp_path: Path, name: str, path: tuple[str, ...], value: Any) -> None:
    good, bad = write_record(tmp_path), write_record(tmp_path)
    content = json.loads((tmp_path / bad / name).read_text())
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    (tmp_path / bad / name).write_text(json.dumps(content))
    store = FileStore(tmp_path)
    assert [record.id for record in store.find(EVERYTHING)] == [good]
    (problem,) = store.problems
    assert problem.startswith(f"the record {tmp_path / bad} is damaged: ")


@pytest.mark.parametrize(
    ("line", "path", "value"),
    [
        (0, ("total", "test"), [[4, 2], [2]]),
        (0, ("total",), {"valid": [[4, 2], [2, 4]]}),
        (0, ("aligned",), [[True, False]]),
        (0, ("means",), {"all": ["nothing"]}),
        (1, ("correct", "test", "classifier"), [[9, 0], [1, 2]]),
        (1, ("correct", "test"), {"other": [[3, 0], [1, 2]]}),
        (1, ("correct", "test", "classifier"), [[3.5, 0], [1, 2]]),
        (2, ("epoch",), "2"),
        (2, ("losses",), None),
    ],
)
def test_evaluations_that_cannot_be(tmp_path: Path, line: int, path: tuple[str, ...], value: Any) -> None:
    path_of_file = tmp_path / write_record(tmp_path) / "evaluations.jsonl"
    lines = [json.loads(text) for text in path_of_file.read_text().splitlines()]
    holder = lines[line]
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    path_of_file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    (record,) = FileStore(tmp_path).find(EVERYTHING)
    with pytest.raises(UserError, match=f"the evaluations of the run {record.id} are damaged"):
        record.history()


@pytest.mark.parametrize("value", [10**30, 'a"b', "\ud800", float("nan"), [None], {"a": 1}])
def test_settings_that_no_database_can_compare(tmp_path: Path, value: Any) -> None:
    write_record(tmp_path)
    assert ids(tmp_path, Query({"seed": value})) == []
    with pytest.raises(UserError, match="no run has a setting"):
        ids(tmp_path, Query({'da"ta': value}))


def test_half_a_last_line_of_evaluations(tmp_path: Path) -> None:
    run_id = write_record(tmp_path)
    path = tmp_path / run_id / "evaluations.jsonl"
    path.write_text(path.read_text() + '{"phase": "tr')
    (record,) = FileStore(tmp_path).find(EVERYTHING)
    assert len(record.history().evaluations) == 2
    path.write_text(json.dumps({"total": 1}) + "\n")
    with pytest.raises(UserError, match=f"the evaluations of the run {run_id} are damaged"):
        record.history()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder of records"):
        FileStore(tmp_path / "none")
