"""`seeds=` after a run's words, and `together`: runs that differ in their seed alone."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from debiaslab.commands import for_parser
from debiaslab.commands.studies.groups import pace_of
from debiaslab.commands.studies.jobs import jobs_of, with_data
from debiaslab.commands.studies.pace import Pace, measure_pace
from debiaslab.commands.studies.words import read_study
from debiaslab.commands.words import read_seeds
from debiaslab.core.errors import TrainingDiverged, UserError
from debiaslab.recording.observers import STATE
from debiaslab.training.loop import Trained, Trainer
from tests.commands.test_study_processes import ended, status
from tests.conftest import Command
from tests.held import start_command, wait_until

WORDS = ("digits", "smoke", "method=erm")
EPOCHS = 30


def record(folder: Path, name: str) -> dict[str, object]:
    return dict(json.loads((folder / name).read_text()))


def by_seed(runs: list[Path]) -> dict[object, Path]:
    return {record(run, "config.json")["seed"]: run for run in runs}


@pytest.mark.parametrize(
    ("line", "known_as"),
    [
        ("with digits seeds=5", "seeds with digits seeds=5"),
        ("train with digits seeds=5", "seeds with digits seeds=5"),
        ("-m host:1:db with digits seeds=5", "-m host:1:db seeds with digits seeds=5"),
        ("study with digits seeds=5", "study with digits seeds=5"),
        ("with digits seed=5", "with digits seed=5"),
    ],
)
def test_a_run_with_seeds_is_a_command(line: str, known_as: str) -> None:
    assert for_parser(line.split()) == known_as.split()


def test_a_number_of_seeds() -> None:
    assert read_seeds("3") == (1, 2, 3)
    assert read_seeds("2", 7) == (7, 8)
    assert read_study([*WORDS, "seed=7", "seeds=2"]).seeds == (7, 8)
    assert read_study([*WORDS, "seed=7"]).seeds == (7,)
    with pytest.raises(UserError, match=r"^seed=7 and seeds=1-3: give one of them$"):
        read_seeds("1-3", 7)


@pytest.mark.processes
def test_each_seed_is_a_run_as_if_it_had_been_typed(command: Command) -> None:
    """Apart or as one: what the runs are is the same, and so is what they find, but for rounding."""
    apart = command("with", *WORDS, "seeds=2", "together=False")
    assert apart.code == 0
    assert "2 runs: 2 to run" in apart.out
    again = command("with", *WORDS, "seeds=2", "together=True")
    assert "2 runs: 2 done" in again.out
    assert again.runs == []

    as_one = command("with", *WORDS, "seeds=2", "together=True", "log_dir=other")
    typed = command("with", *WORDS, "seed=2", "log_dir=third")
    assert as_one.code == typed.code == 0
    assert re.search(r"^ erm +\d", as_one.out, re.MULTILINE)
    *_, title, recipe, labels = as_one.out.splitlines()
    assert title.endswith("evaluated on 500 images of each split")
    assert recipe.endswith("num_steps 20, where the recipe has epochs 40")
    assert labels.startswith("bias labels: 0 for training, 200 for selection, ")
    assert len(list(Path("other/_output").iterdir())) == 1  # one process
    first, second, third = by_seed(apart.runs), by_seed(as_one.runs), by_seed(typed.runs)
    assert first.keys() == second.keys() == {1, 2}
    for seed, run in second.items():
        other = first[seed]
        assert status(run) == "COMPLETED"
        ours, theirs = record(run, "config.json"), record(other, "config.json")
        assert {**ours, "log_dir": ""} == {**theirs, "log_dir": ""}
        printed = (run / "cout.txt").read_text()
        together, _, own = printed.partition(f"seed {seed}\n")  # what is printed while they train, then the result
        assert together.startswith("recording in other/")
        assert "recorded in" not in together
        assert own.count("recorded in") == 1
        losses, others = (
            [json.loads(line)["losses"]["loss"] for line in (folder / "evaluations.jsonl").read_text().splitlines()[1:]]
            for folder in (run, other)
        )
        assert losses == pytest.approx(others, rel=1e-5)
    assert (third[2] / "evaluations.jsonl").read_text() == (first[2] / "evaluations.jsonl").read_text()


@pytest.mark.processes
def test_one_that_fails_does_not_stop_the_others(command: Command) -> None:
    """Of runs that are trained as one, too, each ends as it would have ended alone."""
    wild = ("method.hparams.learning_rate=1e30", "method.hparams.optimizer=sgd")
    outcome = command("with", *WORDS, *wild, "seeds=2", "together=True")
    assert outcome.code == 1
    for seed in (1, 2):
        assert f"FAILED erm seed {seed}: loss is " in outcome.out
    assert {status(run) for run in outcome.runs} == {"FAILED"}


def test_runs_that_failed_together_are_not_trained_again(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(trainers: Sequence[Trainer]) -> list[Trained | UserError | TrainingDiverged]:
        calls.append(len(trainers))
        return [UserError("no image") for _ in trainers]

    monkeypatch.setattr("debiaslab.commands.together.fit_together", failing)
    outcome = command("together", "with", *WORDS, "seeds=3")
    assert (outcome.code, calls) == (1, [3])
    assert [f"seed {seed}: no image" in outcome.err for seed in (1, 2, 3)] == [True] * 3
    assert {status(run) for run in outcome.runs} == {"FAILED"}


@pytest.mark.processes
def test_an_interruption_is_recorded_by_each_which_then_goes_on_alone(
    command: Command, tmp_path: Path, data_root: Path, digits: object
) -> None:
    few = ("evaluate_images=50", "checkpoint_seconds=0", f"data.root={data_root}")
    words = ("digits", "method=erm", f"epochs={EPOCHS}", "method.hparams.batch_size=256", *few)
    process = start_command(tmp_path, "together", *words, "seeds=2", "ids=a,b")
    runs = [tmp_path / "runs" / run_id for run_id in ("a", "b")]
    wait_until(lambda: all((run / STATE).exists() and evaluations(run) >= 2 for run in runs), process)
    process.terminate()
    code, _, err = ended(process)
    assert code == 130
    assert err == f"interrupted; to resume: python main.py with {shlex.join(words)} seeds=1,2\n"
    assert [status(run) for run in runs] == ["INTERRUPTED"] * 2
    assert all(0 < evaluations(run) < EPOCHS for run in runs)

    again = command("with", *words, "seeds=1,2", "jobs=2", data=False)
    assert again.code == 0
    assert "2 runs: 2 to resume" in again.out
    new = [run for run in tmp_path.glob("runs/*/run.json") if run.parent not in runs]
    assert [status(run.parent) for run in new] == ["COMPLETED"] * 2
    assert [evaluations(run.parent) for run in new] == [EPOCHS] * 2


def evaluations(run: Path) -> int:
    file = run / "evaluations.jsonl"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


def test_what_is_faster_is_measured(data_root: Path) -> None:
    words = ("digits", "smoke", f"data.root={data_root}", "seeds=2")
    for method, stackable in (("erm", True), ("disent", False)):
        jobs = list(with_data(jobs_of(read_study([*words, f"method={method}"]))))
        assert [job.data is not None and job.data.stackable for job in jobs] == [stackable] * 2
        pace = measure_pace([job.setup for job in jobs], threads=1)
        assert pace.alone > 0
        assert (pace.together == pytest.approx(2 * pace.alone)) == (not stackable)


def test_networks_in_bf16_are_trained_one_by_one(data_root: Path) -> None:
    words = ("digits", "smoke", f"data.root={data_root}", "seeds=2", "method=erm", "precision=bf16")
    jobs = list(with_data(jobs_of(read_study(words))))
    assert [job.data is not None and job.data.stackable for job in jobs] == [False] * 2


def test_seeds_at_a_time_count() -> None:
    (job,) = jobs_of(read_study([*WORDS, "seed=1"]))
    pace = Pace(count=5, alone=0.004, together=0.010)
    assert pace.apart(1) == pytest.approx(0.020)
    assert pace.apart(2) == pytest.approx(0.012)
    assert pace.apart(5) == pytest.approx(0.004)
    assert pace_of(job, pace, 2) == "erm: a step of 5 seeds takes 12 ms apart, 2 at a time, 10 ms together: together"
    assert pace_of(job, pace, 5).endswith("4 ms apart, 5 at a time, 10 ms together: apart")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["with", *WORDS, "seeds=0"], "seeds=0: must be a whole number, 1 or more"),
        (["with", *WORDS, "seeds=2", "together=yes"], "together=yes: must be auto, True or False"),
        (["with", *WORDS, "seeds=2", "methods=erm,lff"], "methods= is an option of a study: python main.py study with"),
        (["with", "digts", "seeds=2"], "unknown named configuration 'digts'; did you mean 'digits'?"),
        (["with", *WORDS, "seeds=2", "resume=runs/x"], "resume=runs/x: a study decides that"),
        (["with", *WORDS, "seeds=2", "seed=x"], "seed=x: must be a whole number, 0 or more"),
        (["together", "with", *WORDS], "which runs? give seeds=5, seeds=1-5 or seeds=1,2,3"),
        (["together", "with", *WORDS, "sed=1", "seeds=2"], "unknown setting 'sed'; did you mean 'seed'?"),
        (["together", "with", *WORDS, "seeds=2", "ids=a"], "ids=a: 1 ids for 2 seeds"),
    ],
)
def test_bad_words(command: Command, words: list[str], error: str) -> None:
    outcome = command(*words)
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err.startswith(f"error: {error}")
    assert outcome.err.count("\n") == 1
