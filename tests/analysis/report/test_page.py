"""What is in the page: the same numbers as in the tables, each picture once, and nothing that text could break."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.frames import groups_frame
from debiaslab.analysis.mongo_store import MongoStore
from debiaslab.analysis.query import EVERYTHING
from debiaslab.analysis.report.embedded_images import EmbeddedImages
from debiaslab.analysis.tables import result_table
from debiaslab.core.errors import UserError
from debiaslab.evaluation.outcomes import OUTCOME_METRICS, scale_of
from debiaslab.evaluation.selection import RULES
from debiaslab.recording.server import free_port, running_server
from tests.analysis.recorded import write_record
from tests.analysis.report.pages import blocks, page_of
from tests.conftest import Command


def test_numbers_are_those_of_the_tables(command: Command, tmp_path: Path) -> None:
    for words in (["method=erm"], ["method=erm", "seed=2"], ["method=denetdm"], ["method=erm", "published"]):
        command("with", "digits", "smoke", *words)
    store = FileStore(tmp_path / "runs")
    records = store.find(EVERYTHING)
    board = blocks(page_of(store).html)["overview"]["leaderboard"]
    shown = 0
    for rule in RULES:
        for metric in ("test/unbiased", "test/conflicting", "valid/accuracy"):
            try:
                table = result_table(records, rule, metric)
            except UserError:
                assert metric not in board["tables"].get(rule, {})
                continue
            cells = board["tables"][rule][metric]
            assert len(cells) == len(table.cells)
            # the layout is that of all runs, so a column may say more than that of a table of some of them
            for cell in cells:
                row, column = board["rows"][cell["row"]], board["columns"][cell["column"]]
                runs = tuple(records[index].id for index in cell["runs"])
                (found,) = (other for other in table.cells.values() if set(other.ids) == set(runs))
                assert (cell["text"], runs) == (found.text(" ± "), found.ids)
                assert {records[index].config["method"]["name"] for index in cell["runs"]} == {row["method"]}
                assert {records[index].config["data"]["protocol"] for index in cell["runs"]} == {column["protocol"]}
                shown += 1
    assert shown > 40
    oracle = {rule["name"]: rule["oracle"] for rule in board["rules"]}
    assert oracle["oracle_test_unbiased"] is True
    assert oracle["best_valid_unbiased"] is False
    assert "chosen on test images" in next(rule["label"] for rule in board["rules"] if rule["oracle"])


def test_each_cell_has_an_interval_and_a_test(tmp_path: Path) -> None:
    for method, seed, unbiased in (("erm", 1, 0.3), ("erm", 2, 0.4), ("lff", 1, 0.6), ("lff", 2, 0.9), ("end", 1, 0.5)):
        write_record(tmp_path, method=method, seed=seed, unbiased=unbiased)
    board = blocks(page_of(FileStore(tmp_path), against="erm").html)["overview"]["leaderboard"]
    cells = {board["rows"][cell["row"]]["name"]: cell for cell in board["tables"]["last"]["test/unbiased"]}
    assert cells["lff"]["interval"] == "95 % interval of the mean: -115.59 to 265.59 (Student's t over seeds)"
    assert cells["lff"]["p"] == "p 0.156"
    assert cells["lff"]["test"] == "Minus erm: +40.00 points, p = 0.156 (paired t-test, 2 seeds)"
    assert "interval" not in cells["end"]
    assert cells["end"]["p"] == "p -"
    assert "p" not in cells["erm"]


def test_run_page(command: Command, tmp_path: Path) -> None:
    (folder,) = command("with", "digits", "smoke", "method=denetdm").runs
    store = FileStore(tmp_path / "runs")
    page = blocks(page_of(store, EmbeddedImages()).html)["run-0"]
    result = json.loads((folder / "run.json").read_text())["result"]
    for rule in ("last", "best_valid_unbiased"):
        shown = page["rules"][rule]
        for branch, texts in shown["accuracies"]["test"].items():
            of_branch = {metric: result[rule].get(f"test/{branch}/{metric}") for metric in page["metrics"]}
            if branch == "target":  # the prediction, which alone has outcomes
                of_branch |= {metric: result[rule][f"test/{metric}"] for metric in OUTCOME_METRICS}
            expected = {metric: (scale_of(metric)[0], value) for metric, value in of_branch.items()}
            assert texts == ["-" if value is None else f"{scale * value:.2f}" for scale, value in expected.values()]
        assert shown["epoch"] == result[rule]["epoch"]
    groups = groups_frame(store.find(EVERYTHING), "last")
    step = str(page["rules"]["last"]["step"])
    for row in groups.to_dict("records"):
        table = page["groups"]["by_step"][step][row["split"]][row["branch"]]
        place = row["target"], row["bias"]
        assert table["correct"][place[0]][place[1]] == row["correct"]
        assert table["accuracy"][place[0]][place[1]] == round(100 * row["accuracy"], 1)
        assert page["groups"]["total"][row["split"]][place[0]][place[1]] == row["total"]
    assert [phase["name"] for phase in page["phases"]] == ["separate", "distill"]
    assert list(page["phases"][0]["accuracies"]["test"]) == ["shallow", "deep", "product"]
    assert [picture["name"] for picture in page["pictures"]] == ["diagnostics.png", "samples.png"]
    assert ["code.commit", json.loads((folder / "info.json").read_text())["code"]["commit"]] in page["environment"]


def test_the_command_repeats_the_run(command: Command, tmp_path: Path) -> None:
    first = command("with", "digits", "smoke", "method=lff", "seed=3", "skewed1", "method.hparams.q=0.6")
    line = shlex.split(blocks(page_of(FileStore(tmp_path / "runs")).html)["run-0"]["command"])
    assert line[:3] == ["python", "main.py", "with"]
    second = command(*line[2:])
    assert second.code == 0
    assert second.record("run.json")["result"] == first.record("run.json")["result"]
    settings = [{**outcome.record("config.json")} for outcome in (first, second)]
    assert settings[0] == settings[1]


def test_text_cannot_end_the_data(tmp_path: Path) -> None:
    name = "</script><script>alert('&')</script><!--"
    write_record(tmp_path, method=name, data={"name": name})
    html = page_of(FileStore(tmp_path)).html
    assert name not in html
    assert html.count("<script>") == 1
    assert blocks(html)["overview"]["runs"][0]["method"] == name


def test_each_picture_is_there_once(tmp_path: Path) -> None:
    from PIL import Image

    for seed, shade in ((1, 10), (2, 10), (3, 99)):
        run_id = write_record(tmp_path, seed=seed)
        Image.new("L", (4, 4), shade).save(tmp_path / run_id / "samples.png")
        (tmp_path / run_id / "broken.png").write_text("no picture")
        run = json.loads((tmp_path / run_id / "run.json").read_text())
        run["artifacts"] += ["samples.png", "broken.png", "gone.png"]
        (tmp_path / run_id / "run.json").write_text(json.dumps(run))
    store = FileStore(tmp_path)
    page = page_of(store, EmbeddedImages())
    assert (page.pictures, page.pictures_left_out, page.html.count("data:image/png")) == (2, 0, 2)
    assert [len(blocks(page.html)[f"run-{index}"]["pictures"]) for index in range(3)] == [1, 1, 1]
    assert sum("gone.png" in problem for problem in page.problems) == 3
    assert sum("broken.png" in problem and "is not an image" in problem for problem in page.problems) == 3
    small = page_of(store, EmbeddedImages(limit=100))
    assert (small.pictures, small.pictures_left_out) == (1, 1)
    assert blocks(small.html)["overview"]["pictures_left_out"] == 1
    assert "data:image/png" not in page_of(store, None).html


def test_unfinished_and_damaged_runs_are_told(tmp_path: Path) -> None:
    whole, unfinished = write_record(tmp_path, unbiased=0.25), write_record(tmp_path, status="INTERRUPTED", seed=2)
    half, gone = write_record(tmp_path, seed=3, unbiased=0.75), write_record(tmp_path)
    (tmp_path / half / "evaluations.jsonl").write_text("{}")
    (tmp_path / gone / "run.json").write_text("{")
    page = page_of(FileStore(tmp_path))
    overview = blocks(page.html)["overview"]
    assert {run["id"]: run["status"] for run in overview["runs"]} == {
        whole: "completed",
        unfinished: "interrupted",
        half: "completed",
    }
    (cell,) = overview["leaderboard"]["tables"]["last"]["test/unbiased"]
    assert cell["text"] == "50.00 ± 35.36"  # what the damaged one recorded at its end counts
    assert len(page.problems) == 2
    assert "run.json" in page.problems[0]
    assert f"the evaluations of the run {half} are damaged" in page.problems[1]


def test_runs_without_a_result_have_a_page(tmp_path: Path) -> None:
    write_record(tmp_path, status="RUNNING")
    overview = blocks(page_of(FileStore(tmp_path)).html)["overview"]
    assert overview["leaderboard"]["tables"] == {}
    (run,) = overview["runs"]
    assert run["status"] == "running"
    assert run["state"].startswith("no sign of life since 20")


def test_published_numbers_are_beside(tmp_path: Path) -> None:
    write_record(tmp_path, method="denetdm", unbiased=0.73)
    board = blocks(page_of(FileStore(tmp_path)).html)["overview"]["leaderboard"]
    (cell,) = board["tables"]["last"]["test/unbiased"]
    assert cell["paper"].pop("how").startswith("Sreelatha et al. 2024 report means of 5 seeds; DeNetDM's weights were")
    assert cell["paper"] == {"text": "74.72 ± 0.99", "difference": "-1.72", "source": "Sreelatha et al. 2024, Table 1"}
    assert "notes" not in cell


def test_what_keeps_numbers_from_those_of_papers_is_told_of_each_cell(tmp_path: Path) -> None:
    write_record(tmp_path, hparams={"num_steps": 20, "hand_over": "oracle_test_conflicting"}, limit=500)
    board = blocks(page_of(FileStore(tmp_path)).html)["overview"]["leaderboard"]
    (cell,) = board["tables"]["last"]["test/unbiased"]
    assert cell["notes"] == [
        "evaluated on 500 images of each split",
        "num_steps 20, where the recipe has num_steps 23500",
    ]


@pytest.mark.long
def test_files_and_mongodb_give_the_same_page(command: Command, tmp_path: Path) -> None:
    port = free_port()
    with running_server(port, tmp_path / "mongo"):
        for words in (["method=erm"], ["method=erm", "seed=2"], ["method=denetdm"]):
            command("-m", f"localhost:{port}:page", "with", "digits", "smoke", *words)
        stores = FileStore(tmp_path / "runs"), MongoStore(f"localhost:{port}:page")
        files, mongo = (without_seconds(page_of(store, EmbeddedImages()).html) for store in stores)
        outcome = command("-m", f"localhost:{port}:page", "report", "--out", "from_mongo", data=False)
    assert files.keys() == mongo.keys()
    for name in files:
        assert files[name] == mongo[name], name
    assert len(files["pictures"]) == 2
    assert (outcome.code, outcome.err) == (0, "")
    command("report", "--out", "from_files", data=False)
    pages = [(tmp_path / name / "report.html").read_text() for name in ("from_mongo", "from_files")]
    assert without_seconds(pages[0]) == without_seconds(pages[1])


def without_seconds(html: str) -> dict[str, Any]:
    """A page's data, but for how long the runs took: MongoDB keeps thousandths of a second."""
    data = blocks(html)
    for run in data["overview"]["runs"]:
        run["seconds"] = None
    return data


def test_long_curves_keep_the_chosen_evaluations(tmp_path: Path) -> None:
    run_id = write_record(tmp_path)
    path = tmp_path / run_id / "evaluations.jsonl"
    head, first, _ = path.read_text().splitlines()
    lines = [json.loads(first) | {"epoch": number, "step": number} for number in range(1, 1001)]
    lines[499]["correct"] = {"test": {"classifier": [[4, 2], [2, 4]]}}
    path.write_text("\n".join([head, *map(json.dumps, lines)]))
    page = blocks(page_of(FileStore(tmp_path)).html)["run-0"]
    (phase,) = page["phases"]
    assert phase["evaluations"] == 1000
    assert len(phase["epochs"]) in range(200, 204)
    assert {1, 500, 1000} <= set(phase["epochs"])
    assert page["rules"]["oracle_test_unbiased"]["epoch"] == 500
    assert phase["accuracies"]["test"]["classifier"]["unbiased"][phase["epochs"].index(500)] == 100


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["images=no"], "images=no: must be True or False"),
        (["rule=best"], "unknown rule rule='best'"),
        (["seed=17"], "no recorded run matches"),
        (["metric=test/unbiasd"], "unknown metric 'test/unbiasd'; did you mean 'test/unbiased'?"),
        (["against=em"], "unknown row 'against=em'; did you mean 'erm'?"),
        (["out=runs/file"], "cannot write runs/file/report.html"),
    ],
)
def test_bad_words(command: Command, tmp_path: Path, words: list[str], error: str) -> None:
    write_record(tmp_path / "runs")
    (tmp_path / "runs" / "file").write_text("")
    outcome = command("report", "with", *words, data=False)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {error}")
    assert outcome.err.count("\n") == 1
