"""`main.py study with search=N`: default and tuned settings side by side, at equal budgets."""

import io
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from debiaslab import main
from debiaslab.analysis.file_store import FileStore
from debiaslab.analysis.query import EVERYTHING, setting_of
from debiaslab.analysis.records import Record
from debiaslab.analysis.search import objective_of
from debiaslab.commands.searches.plan import make_plan
from debiaslab.commands.searches.trials import Trials
from debiaslab.commands.searches.words import read_search
from debiaslab.recording.launcher import Handle, Outcome
from tests.conftest import Command
from tests.held import hold_training, release_when_signalled, start_command

MAIN = Path(main.__file__)
WORDS = ("digits", "smoke", "methods=erm")
RATE = "method.hparams.learning_rate"


class InThisProcess:
    """A launcher whose runs are finished when they are started: as fast as a run is."""

    def __init__(self) -> None:
        self.over: list[tuple[Handle, Outcome]] = []

    def start(
        self, arguments: Sequence[str], output: Path, threads: int | None = None, held_files: Sequence[int] = ()
    ) -> Handle:
        handle, text = Handle(arguments, output), io.StringIO()
        with redirect_stdout(text), redirect_stderr(text):
            code = main.run(list(arguments))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text.getvalue())
        self.over.append((handle, Outcome(code, output)))
        return handle

    def ended(self) -> list[tuple[Handle, Outcome]]:
        over, self.over = self.over, []
        return over

    stop = ended


@pytest.fixture
def study(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command` for studies, with runs in this process."""
    for module in ("study", "studies.tuning"):
        monkeypatch.setattr(f"debiaslab.commands.{module}.Local", InThisProcess)
    return lambda *words, **options: command("study", "with", *WORDS, *words, **options)


def records() -> list[Record]:
    return FileStore(Path("runs")).find(EVERYTHING)


def kinds() -> dict[tuple[str, str, int], int]:
    """(method, kind, seed) -> number of runs; kinds are trial, default and the number of trials of a tuned run."""
    kind = {record.id: "trial" if record.is_trial else str(record.config["tuned"] or "default") for record in records()}
    return Counter((run.config["method"]["name"], kind[run.id], run.config["seed"]) for run in records())


def test_a_study_tunes_each_method_and_repeats_nothing(study: Command, command: Command) -> None:
    words = ("seed=1", "search=2", "metric=test/unbiased")
    outcome = study(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(
        "one seed does not tell how sure the difference of the tuned settings is; give several"
    )
    once = {("erm", "trial", 0): 2, ("erm", "default", 1): 1, ("erm", "2", 1): 1}
    assert kinds() == once
    rows = [line.split("  ")[0].strip() for line in outcome.out.splitlines() if line.endswith("(n=1) ")]
    assert rows == ["erm", "erm (tuned, 2 trials)"] * 2  # for each of two rules
    assert "erm (tuned, 2 trials) on digits, skew 0.02, severity 4: bias labels: 0 for training, 200 for" in outcome.out
    # the tuned run has the settings of the best trial by validation images
    best = max(
        (run for run in records() if run.is_trial), key=lambda run: (objective_of(run) or 0, -run.config["trial"])
    )
    (tuned,) = [run for run in records() if run.config["tuned"] == 2]
    assert setting_of(tuned.config, RATE) == setting_of(best.config, RATE)
    marks = {name: best.config[name] for name in ("search", "objective")} | {"trial": None}
    assert {name: tuned.config[name] for name in marks} == marks

    again = study(*words)
    assert (again.code, again.runs) == (0, [])
    assert "2 runs: 2 done" in again.out
    tables = outcome.out[outcome.out.index("test/unbiased (%), last") :]
    assert again.out.endswith(tables)
    assert command("results", "with", "digits", data=False).out == tables  # without the trials
    listed = study(*words, "list=True")
    assert "erm: 2 of 2 trials of the search erm-digits-" in listed.out
    assert "2 runs: 2 done" in listed.out

    # another seed needs no trial; another trial needs one, and its best settings are a row of their own
    assert len(study(*words, "seeds=2").runs) == 2
    assert len(study(*words, "search=3").runs) == 2
    twice = {("erm", "default", 2): 1, ("erm", "2", 2): 1}
    assert kinds() == once | twice | {("erm", "trial", 0): 3, ("erm", "3", 1): 1}
    same = study(*words, "seeds=2", "metric=test/unbiased,valid/unbiased", "format=csv")
    assert same.runs == []  # the third trial changes nothing for two of them
    assert same.out.count("metric,rule,") == 1  # two tables, in one file
    assert "\nvalid/unbiased,last,erm," in same.out
    shown = command("results", "with", "tuned=3", "format=csv", "rule=last", data=False).out.splitlines()
    assert len([line for line in shown if line]) == 2
    assert shown[1].startswith('test/unbiased,last,"erm (tuned, 3 trials)"')
    of_search = command("results", "with", f"search={best.config['search']}", data=False)
    assert of_search.out.count("completed") == 3


def test_each_method_and_variant_has_a_search(study: Command) -> None:
    listed = study("methods=erm,lff", "variants=skewed1,skewed4", "search=2", "list=True")
    assert (listed.code, listed.runs) == (0, [])
    found = [line.split(": ")[0] for line in listed.out.splitlines() if ": 0 of 2 trials of the search " in line]
    assert found == ["erm skewed1", "lff skewed1", "erm skewed4", "lff skewed4"]
    assert "12 runs: 12 to run" in listed.out


def test_a_method_without_a_complete_trial_has_no_tuned_row(study: Command) -> None:
    diverging = ("seed=1", "search=1", f"{RATE}=1e30")
    outcome = study(*diverging)
    assert outcome.code == 1
    assert "FAILED erm, tuned: no trial of erm-digits-" in outcome.out
    assert kinds()["erm", "trial", 0] == 1
    study(*diverging)
    assert kinds()["erm", "trial", 0] == 1  # a failed trial is one, too


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["search=0"], "search=0: must be a whole number, 1 or more"),
        (["search=abc"], "search=abc: must be a whole number, 1 or more"),
        (["search=2", "selection=oracle_test_unbiased"], "erm: selection=oracle_test_unbiased: a search that selects on"
         " the test images overfits them; use selection=best_valid_unbiased"),
        (["search=2", "objective=test/unbiased"], "erm: objective=test/unbiased: a search that selects on the test"),
        (["search=2", "data.protocol=published"], "erm: objective=valid/unbiased needs validation images, and digits"
         " has none with data.protocol=published; use data.protocol=holdout"),
        (["search=2", "methods=denetdm", "method.hparams.hand_over=oracle_test_conflicting"], "denetdm: "
         "method.hparams.hand_over=oracle_test_conflicting selects weights on the test images, and so would"),
        (["objective=valid/unbiased"], "objective=valid/unbiased: of trials; ask for some with search=20"),
        (["search=2", f"{RATE}=log(1e-4, 1e-2)"], f"{RATE}=log(1e-4, 1e-2): a study searches the ranges that each"
         " method declares; leave it out, or use search"),
        (["search=2", "methods=erm", f"{RATE}=0.1", "method.hparams.weight_decay=0"], "erm: nothing to search: erm"
         " declares no range for a setting that is not given; write one"),
        (["search=2", "variants=search=3"], "variants=search=3: variants cannot contain search; leave it out there"),
        (["search=2", "against=erm (tuned)"], "unknown row 'against=erm (tuned)'; did you mean 'erm (tuned, 2"),
        (["tuned=2"], "search=None: must be given with trial and objective"),
    ],
)  # fmt: skip
def test_bad_words_are_told_before_anything_runs(study: Command, words: list[str], error: str) -> None:
    outcome = study("seeds=2", *words)
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err.startswith(f"error: {error}")
    assert outcome.err.count("\n") == 1


# ---- kills


@pytest.mark.processes
def test_a_killed_and_an_interrupted_study_continue(
    study: Command, tmp_path: Path, data_root: Path, digits: object
) -> None:
    words = (*WORDS, "seed=1", "search=1", f"data.root={data_root}")
    killed = start_command(tmp_path, "study", *words)
    orphan = hold_training(killed, tmp_path / "runs")
    killed.kill()
    orphan.kill()  # as when the machine fails
    killed.communicate()
    interrupted = start_command(tmp_path, "study", *words)
    held = hold_training(interrupted, tmp_path / "runs")
    interrupted.send_signal(signal.SIGINT)
    release_when_signalled(held, signal.SIGTERM, interrupted)
    _, err = interrupted.communicate(timeout=300)
    assert (interrupted.returncode, err) == (
        130,
        f"interrupted; to resume: python main.py study with {' '.join(words)}\n",
    )
    last = study("seed=1", "search=1")
    assert (last.code, last.err) == (0, ""), last.out
    states = sorted((run.is_trial, run.status) for run in records())
    assert states == [(False, "COMPLETED")] * 2 + [(True, "COMPLETED"), (True, "INTERRUPTED"), (True, "RUNNING")]
    # the point is that of a search that nothing happened to
    plan = make_plan(read_search([*words[:2], "method=erm", "seed=0", "sampler=random", "trials=1", *words[5:]]))
    (trial,) = [run for run in records() if run.is_trial and run.result]
    assert trial.config["search"] == plan.name
    fresh = Trials(make_plan(read_search([*plan.words.common, "sampler=random", f"storage={tmp_path}/fresh.db"])))
    undisturbed = fresh.next("run")
    assert undisturbed is not None
    assert {name: setting_of(trial.config, name) for name in undisturbed.values} == undisturbed.values
