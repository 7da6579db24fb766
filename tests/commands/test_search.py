"""`main.py search`, with real runs: several workers, kills, failures, and what is shown in the end."""

import json
import signal
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from debiaslab import main
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.mongo_store import MongoStore
from debiaslab.analysis.query import Query, setting_of
from debiaslab.analysis.search import SearchTrials, find_trials, objective_of, summary_table
from debiaslab.commands.searches.plan import make_plan
from debiaslab.commands.searches.trials import Trials
from debiaslab.commands.searches.words import STORAGE_URL, read_search
from debiaslab.core.errors import UserError
from tests.analysis.recorded import write_record
from tests.conftest import Command
from tests.held import hold_training, release_when_signalled, start_command
from tests.postgres import INSTALLED, PASSWORD, running_postgres

MAIN = Path(main.__file__)
WORDS = ("digits", "smoke", "method=end", "sampler=random", "trials=2")


@pytest.mark.processes
def test_killed_and_interrupted_workers_lose_nothing(
    command: Command, tmp_path: Path, data_root: Path, digits: object
) -> None:
    words = (*WORDS, "jobs=1", f"data.root={data_root}")
    killed = start_command(tmp_path, "search", *words)
    orphan = hold_training(killed, tmp_path / "runs")
    killed.kill()
    orphan.kill()  # as when the machine fails
    killed.communicate()
    interrupted, lasting = start_command(tmp_path, "search", *words), start_command(tmp_path, "search", *words)
    held = hold_training(interrupted, tmp_path / "runs")
    interrupted.send_signal(signal.SIGINT)
    release_when_signalled(held, signal.SIGTERM, interrupted)
    _, err = interrupted.communicate(timeout=300)
    assert interrupted.returncode == 130
    assert err == f"interrupted; to resume: python main.py search with {' '.join(words)}\n"
    out, err = lasting.communicate(timeout=600)
    assert (lasting.returncode, err) == (0, ""), out
    assert out.count("its worker died; it will be run again") <= 1  # the other one may have found it
    # what was given up after the lasting one had seen enough trials running
    assert command("search", "with", *words, data=False).code == 0

    plan = make_plan(read_search(words))
    trials = Trials(plan)
    assert trials.counts() == {"complete": 2, "failed": 0, "running": 0, "again": 0}
    records = FileStore(tmp_path / "runs").find(Query({"search": plan.name}))
    assert sorted(record.status for record in records) == ["COMPLETED", "COMPLETED", "INTERRUPTED", "RUNNING"]
    # the points are those of a search that nothing happened to
    fresh = Trials(make_plan(read_search([*words, f"storage={tmp_path}/fresh.db"])))
    undisturbed = [trial.values for _ in range(2) if (trial := fresh.next("run")) is not None]
    complete = find_trials(plan.name, records).complete()
    found = [{name: setting_of(record.config, name) for name in undisturbed[0]} for record in complete]
    assert sorted(map(str, found)) == sorted(map(str, undisturbed))


@pytest.mark.processes
def test_failed_trials_and_the_same_summary_from_everywhere(command: Command, tmp_path: Path, port: int) -> None:
    words = ("digits", "smoke", "method=erm", "sampler=grid", "name=rates", "jobs=2", "objective=valid/accuracy")
    space = "method.hparams.learning_rate=choice(1e-3, 1e-2, 1e30)"
    mongo = ("-m", f"localhost:{port}:search")
    outcome = command(*mongo, "search", "with", *words, space)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.runs) == 3
    assert "failed: training stopped: " in outcome.out
    assert "2 complete, 1 failed, of 3 trials; again: python main.py results with search=rates\n" in outcome.out
    assert "the best settings: python main.py with digits smoke method=erm data.root=" in outcome.out
    statuses = sorted(json.loads((folder / "run.json").read_text())["status"] for folder in outcome.runs)
    assert statuses == ["COMPLETED", "COMPLETED", "FAILED"]

    listed = command("search", "with", *words, space, "list=True")
    assert (listed.code, listed.err, listed.runs) == (0, "", [])
    assert listed.out.endswith(outcome.out[outcome.out.index("\n trial ") :])
    answers = [command(*where, "results", "with", "search=rates", "top=1", data=False) for where in ((), mongo)]
    assert answers[0].out == answers[1].out
    assert (
        "the 1 best of 2 complete trials by valid/accuracy, seed 1; accuracies under best_valid_accuracy"
        in answers[0].out
    )
    stores = FileStore(tmp_path / "runs"), MongoStore(mongo[1])
    files, database = (find_trials("rates", store.find(Query({"search": "rates"}))) for store in stores)
    assert [record.id for record in files.trials] == [record.id for record in database.trials]
    assert list(map(objective_of, files.complete())) == list(map(objective_of, database.complete()))
    again = command("search", "with", *words, space)
    assert (again.code, again.runs) == (0, [])


@pytest.mark.skipif(not INSTALLED, reason="needs a PostgreSQL server (Debian's package postgresql)")
def test_a_search_in_postgresql(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_postgres() as address:
        monkeypatch.setenv(STORAGE_URL, address)
        outcome = command("search", "with", *WORDS, "name=shared", "jobs=2")
        assert (outcome.code, outcome.err, len(outcome.runs)) == (0, "", 2)
        assert "2 complete, of 2 trials" in outcome.out
        again = command("search", "with", *WORDS, "name=shared", "trials=4", "list=True")
        assert again.code == 0
        workers = [Trials(make_plan(read_search([*WORDS[:-1], "name=shared", "trials=4"]))) for _ in range(2)]
        taken = [trial.number for worker in workers if (trial := worker.next("run")) is not None]
        assert taken == [2, 3]
        assert not any(PASSWORD in path.read_text() for path in (tmp_path / "runs").rglob("*.json"))
        assert PASSWORD not in outcome.out + again.out
    gone = command("search", "with", *WORDS, "name=shared")
    assert gone.code == 2
    assert gone.err.startswith("error: cannot use storage=postgresql://127.0.0.1:")
    assert gone.err.count("\n") == 1
    assert PASSWORD not in gone.err


def trial(folder: Path, number: int, value: float | None, *, search: str = "mine", **marks: object) -> None:
    """The record of a trial that reached `value` on validation and half of it on test images."""
    run_id = write_record(folder, hparams={"q": number / 10}, status="FAILED" if value is None else "COMPLETED")
    config, run = (folder / run_id / f"{name}.json" for name in ("config", "run"))
    settings = {"search": search, "trial": number, "objective": "valid/unbiased", "selection": "last"}
    config.write_text(json.dumps(json.loads(config.read_text()) | settings | marks))
    entry = json.loads(run.read_text())
    if value is not None:
        entry["result"]["last"] |= {"valid/unbiased": value, "test/unbiased": value / 2, "test/aligned": 1 - value}
    run.write_text(json.dumps(entry))


def found_in(folder: Path) -> SearchTrials:
    return find_trials("mine", FileStore(folder).find(Query({})))


def test_the_summary_is_of_the_best_by_validation(tmp_path: Path) -> None:
    for number, value in enumerate((0.3, 0.8, None, 0.6, 0.8, 0.7)):
        trial(tmp_path, number, value)
    trial(tmp_path, 9, 0.99, search="other")
    write_record(tmp_path)  # no trial at all
    found = found_in(tmp_path)
    assert [record.config["trial"] for record in found.trials] == [0, 1, 2, 3, 4, 5]
    best = found.complete()[:3]
    assert [record.config["trial"] for record in best] == [1, 4, 5]
    assert found.settings == ("method.hparams.q",)
    table = summary_table(found, best)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    values = [80.0, 80.0, 70.0]
    halves = [value / 2 for value in values]
    assert rows[0] == ("valid/unbiased", f"{fmean(values):.2f}", f"{pstdev(values):.2f}")
    assert rows[1][:2] == ("test/aligned", f"{100 - fmean(values):.2f}")
    assert rows[2] == ("test/unbiased", f"{fmean(halves):.2f}", f"{pstdev(halves):.2f}")


def test_searches_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    trial(tmp_path, 0, 0.3)
    trial(tmp_path, 1, 0.5, seed=2)
    with pytest.raises(UserError, match=r"the trials of mine differ in seed: .* select one with seed=VALUE"):
        found_in(tmp_path)
    with pytest.raises(UserError, match="no recorded run is a trial of a search none"):
        find_trials("none", FileStore(tmp_path).find(Query({})))


def test_marks_of_a_trial_go_together(command: Command) -> None:
    outcome = command("with", "smoke", "method=erm", "search=mine")
    assert outcome.code == 2
    assert outcome.err.startswith("error: search='mine': must be given with trial and objective")
    assert outcome.runs == []


def test_questions_about_a_search(command: Command, tmp_path: Path) -> None:
    for number, value in enumerate((0.3, None, 0.6)):
        trial(tmp_path / "runs", number, value)
    outcome = command("results", "with", "search=mine", "top=1", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert "the 1 best of 2 complete trials by valid/unbiased" in outcome.out
    assert outcome.out.endswith("the best settings: method.hparams.q=0.2\n")
    listed = command("results", "with", "search=mine", "trial=1", "list=True", data=False)
    assert (listed.out.count("failed"), listed.out.count("completed")) == (1, 0)
    for words, error in (
        (["search=mine", "top=0"], "top=0: must be a whole number, 1 or more"),
        (["top=2"], "top=2 needs a search; name it with search=NAME"),
        (["search=none"], "no recorded run matches"),
    ):
        refused = command("results", "with", *words, data=False)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith(f"error: {error}")
