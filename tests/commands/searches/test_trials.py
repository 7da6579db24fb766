"""The trials that workers share, without training: who gets which, what counts, what is run again."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from debiaslab.commands.searches import trials as module
from debiaslab.commands.searches.plan import Plan, make_plan
from debiaslab.commands.searches.trials import GRACE_SECONDS, Trial, Trials, this_process
from debiaslab.commands.searches.words import STORAGE_URL, read_search
from debiaslab.commands.searches.worker import Worker, end_run
from debiaslab.core.errors import UserError
from debiaslab.recording.launcher import Handle, Launcher, Outcome
from tests.analysis.recorded import write_record

ALPHA, BETA = "method.hparams.alpha", "method.hparams.beta"
GRID = ("sampler=grid", f"{ALPHA}=choice(0.1, 1, 10)", f"{BETA}=int(1, 4)")
STORAGES = ("search.db", "search.journal")


def plan_of(folder: Path, *words: str, storage: str = "search.db") -> Plan:
    common = ("digits", "smoke", "method=end", "jobs=1", f"log_dir={folder}/runs", f"storage={folder}/{storage}")
    return make_plan(read_search([*common, *words]))


def run_all(trials: Trials, found: list[Trial]) -> None:
    """Take trials, and give each the value of its alpha, until there are no more."""
    while (trial := trials.next("run")) is not None:
        found.append(trial)
        trials.complete(trial.number, float(trial.values[ALPHA]))


def of_dead_worker(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """What this process takes until the next call is marked as that of one that has ended, or of `facts`."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    mark = this_process() | {"process": process.pid} | facts
    monkeypatch.setattr(module, "this_process", lambda: mark)


@pytest.mark.parametrize("storage", STORAGES)
def test_two_workers_share_a_grid_without_a_gap(tmp_path: Path, storage: str) -> None:
    plan = plan_of(tmp_path, *GRID, storage=storage)
    shares: list[list[Trial]] = [[], []]
    threads = [Thread(target=lambda share: run_all(Trials(plan), share), args=[share]) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    points = [(trial.values[ALPHA], trial.values[BETA]) for share in shares for trial in share]
    assert sorted(points) == sorted((a, b) for a in ("0.1", "1", "10") for b in (1, 2, 3, 4))
    trials = Trials(plan)
    assert trials.counts() == {"complete": 12, "failed": 0, "running": 0, "again": 0}
    best = trials.best()
    assert best is not None
    assert best[1] == 10.0
    assert trials.next("run") is None


@pytest.mark.parametrize(("sampler", "number"), [("tpe", 12), ("random", 5)])
def test_one_worker_draws_the_same_again_whatever_happens(tmp_path: Path, sampler: str, number: int) -> None:
    def values(name: str, interrupted: int | None) -> list[Mapping[str, Any]]:
        plan = plan_of(tmp_path, f"sampler={sampler}", f"trials={number}", storage=f"{name}.db")
        found: list[Trial] = []
        trials = Trials(plan)
        for _ in range(interrupted or 0):
            trial = trials.next("run")
            assert trial is not None
            found.append(trial)
            trials.complete(trial.number, float(trial.values[ALPHA]))
        if interrupted is not None:
            trial = trials.next("run")
            assert trial is not None
            trials.give_back(trial)
        run_all(Trials(plan), found)
        assert Trials(plan).counts()["complete"] == len(found) == number
        return [trial.values for trial in found]

    whole = values("whole", None)
    assert len({tuple(point.values()) for point in whole}) == number
    assert values("same", None) == whole
    if sampler == "random":
        assert values("interrupted", 3) == whole
    other = plan_of(tmp_path, f"sampler={sampler}", "seed=2", storage="other.db")
    trial = Trials(other).next("run")
    assert trial is not None
    assert trial.values not in whole


def test_workers_at_the_same_moment_make_no_trial_too_many(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "trials=5", "sampler=random")
    shares: list[list[Trial]] = [[] for _ in range(4)]
    workers = [Trials(plan) for _ in shares]
    threads = [Thread(target=run_all, args=pair) for pair in zip(workers, shares, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, shares)) == 5
    more = plan_of(tmp_path, "trials=7", "sampler=random")
    further: list[Trial] = []
    run_all(Trials(more), further)  # the same search, with more trials wanted
    assert len(further) == 2
    drawn = {trial.values[ALPHA] for share in (*shares, further) for trial in share}
    fresh: list[Trial] = []
    run_all(Trials(plan_of(tmp_path, "trials=7", "sampler=random", storage="fresh.db")), fresh)
    assert drawn == {trial.values[ALPHA] for trial in fresh}


def test_a_failed_trial_counts_and_a_dead_one_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, *GRID)
    with monkeypatch.context() as patch:
        of_dead_worker(patch)
        lost = Trials(plan).next("lost")
    trials = Trials(plan)
    first = trials.next("first")
    assert lost is not None
    assert first is not None
    trials.fail(first.number, "training stopped")
    (dead,) = trials.dead()
    assert (dead.number, dead.run_id, dead.values) == (lost.number, "lost", lost.values)
    trials.give_back(dead)
    trials.give_back(dead)  # another worker has found it, too
    assert trials.counts() == {"complete": 0, "failed": 1, "running": 0, "again": 1}
    found: list[Trial] = []
    run_all(trials, found)
    assert found[0].values == lost.values
    assert len(found) == 11
    assert Trials(plan).counts() == {"complete": 11, "failed": 1, "running": 0, "again": 0}


@pytest.mark.parametrize("storage", STORAGES)
def test_of_workers_that_find_a_dead_one_only_one_repeats_its_trial(tmp_path: Path, storage: str) -> None:
    plan = plan_of(tmp_path, *GRID, storage=storage)
    lost = [trial for _ in range(6) if (trial := Trials(plan).next("run")) is not None]
    workers = [Trials(plan) for _ in range(3)]
    threads = [Thread(target=lambda worker: [worker.give_back(trial) for trial in lost], args=[w]) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Trials(plan).counts()["again"] == 6


def test_a_killed_worker_is_dead_before_its_parent_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, *GRID)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mark = this_process() | {"process": process.pid, "since": psutil.Process(process.pid).create_time()}
    with monkeypatch.context() as patch:
        patch.setattr(module, "this_process", lambda: mark)
        assert Trials(plan).next("there") is not None
    assert Trials(plan).dead() == []
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert [trial.run_id for trial in Trials(plan).dead()] == ["there"]
    process.wait()


def test_a_worker_on_another_machine_lives_as_long_as_its_sign_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by the time that passes here: its clock may be another than ours."""
    plan = plan_of(tmp_path, *GRID)
    with monkeypatch.context() as patch:
        of_dead_worker(patch, machine="elsewhere")
        other = Trials(plan)
        assert other.next("there") is not None
    passed, monotonic, clock = 0.0, time.monotonic, time.time
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed)
    monkeypatch.setattr(time, "time", lambda: clock() + 20 * 60)  # this machine's is 20 minutes ahead
    trials = Trials(plan)
    assert (trials.dead(), trials.uncertain()) == ([], True)
    passed += GRACE_SECONDS - 60
    other.beat()
    assert (trials.dead(), trials.uncertain()) == ([], False)
    passed += GRACE_SECONDS - 60
    assert (trials.dead(), trials.uncertain()) == ([], False)
    passed += 120
    assert [trial.run_id for trial in trials.dead()] == ["there"]
    assert not trials.uncertain()


def test_a_worker_that_was_believed_to_be_dead_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, *GRID)
    with monkeypatch.context() as patch:
        of_dead_worker(patch)
        silent = Trials(plan)
        lost = [silent.next(f"run {number}") for number in range(3)]
    awake = Trials(plan)
    for dead in awake.dead():
        awake.give_back(dead)
    silent.last_beat = -math.inf
    silent.beat()
    for trial, finish in zip(lost, ("complete", "fail", "give_back"), strict=True):
        assert trial is not None
        arguments = {"complete": (trial.number, 0.5), "fail": (trial.number, "error"), "give_back": (trial,)}
        getattr(silent, finish)(*arguments[finish])
    assert awake.counts() == {"complete": 0, "failed": 0, "running": 0, "again": 3}


def test_a_point_that_was_lost_while_it_was_drawn_is_drawn_again(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *GRID)
    trials = Trials(plan)
    trials.study.ask()  # the worker dies here
    trials.give_back(Trial(0, {}))
    found: list[Trial] = []
    run_all(trials, found)
    assert len({tuple(trial.values.values()) for trial in found}) == len(found) == 12


def test_what_a_dead_worker_s_run_has_found_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, *GRID)
    with monkeypatch.context() as patch:
        of_dead_worker(patch)
        lost = Trials(plan).next("lost")
    assert lost is not None
    write_trial(tmp_path / "runs", plan, lost, "lost")
    trials = Trials(plan)
    worker(plan, trials, launcher=Started())._take_from_the_dead()
    assert trials.best() == (lost.number, 0.75)
    assert capsys.readouterr().out.startswith(f"trial {lost.number} ({ALPHA}=0.1 {BETA}=1): valid/unbiased 75.00; its")


def test_a_trial_that_is_complete_after_all_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its worker was believed to be dead, and was not: neither it nor the one that took over count it twice."""
    plan = plan_of(tmp_path, *GRID)
    with monkeypatch.context() as patch:
        of_dead_worker(patch)
        silent = Trials(plan)
        lost = silent.next("slow")
    assert lost is not None
    trials, launcher = Trials(plan), Started()
    trials.give_back(trials.dead()[0])
    write_trial(tmp_path / "runs", plan, lost, "slow")
    silent.complete(lost.number, 0.75)
    taking_over = worker(plan, trials, launcher)
    assert taking_over.advance()
    assert trials.counts() == {"complete": 1, "failed": 0, "running": 1, "again": 0}
    assert [f"{BETA}=2" in handle.arguments for handle in launcher.handles] == [True]
    assert "valid/unbiased 75.00; was recorded in" in capsys.readouterr().out


def test_a_run_that_is_complete_counts_however_its_process_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, *GRID)
    trials, launcher = Trials(plan), Started()
    interrupted = worker(plan, trials, launcher)
    interrupted.advance()
    (handle,) = launcher.handles
    (trial, run_id) = interrupted.running[handle]
    write_trial(tmp_path / "runs", plan, trial, run_id)
    interrupted.conclude(handle, Outcome(-signal.SIGTERM, handle.output), stopped=True)
    assert trials.counts() == {"complete": 1, "failed": 0, "running": 0, "again": 0}


def test_a_trial_on_a_full_disk_is_not_counted(tmp_path: Path) -> None:
    """Its run could not even print why: the worker ends, and the trial is run again by the same command."""
    plan = plan_of(tmp_path, *GRID)
    trials, launcher = Trials(plan), Started()
    full = worker(plan, trials, launcher)
    full.advance()
    (handle,) = launcher.handles
    handle.output.parent.mkdir(parents=True, exist_ok=True)
    handle.output.touch()
    with pytest.raises(UserError, match=r"trial 0 cannot be run: cannot write .*; free the disk; to resume: "):
        full.conclude(handle, Outcome(2, handle.output))
    assert trials.counts() == {"complete": 0, "failed": 0, "running": 0, "again": 1}


class Started:
    """A launcher whose command lines never begin."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    def start(
        self, arguments: Sequence[str], output: Path, threads: int | None = None, held_files: Sequence[int] = ()
    ) -> Handle:
        self.handles.append(Handle(arguments, output))
        return self.handles[-1]

    def ended(self) -> list[tuple[Handle, Outcome]]:
        return []

    def stop(self) -> list[tuple[Handle, Outcome]]:
        return []


def worker(plan: Plan, trials: Trials, launcher: Launcher) -> Worker:
    return Worker(plan, trials, launcher, resume_command="")


def write_trial(folder: Path, plan: Plan, trial: Trial, run_id: str) -> None:
    """The record of a complete run of the trial."""
    hparams = {name.rpartition(".")[2]: float(value) for name, value in trial.values.items()}
    write_record(folder, run_id=run_id, hparams=hparams)
    run, config = (folder / run_id / f"{name}.json" for name in ("run", "config"))
    entry = json.loads(run.read_text())
    entry["result"]["last"]["valid/unbiased"] = 0.75
    run.write_text(json.dumps(entry))
    marks = {"objective": "valid/unbiased", "search": plan.name, "trial": trial.number}
    config.write_text(json.dumps(json.loads(config.read_text()) | marks))


def test_the_run_of_a_dead_worker_is_ended_and_no_other() -> None:
    code = "import time; time.sleep(60)"
    orphan, other = (
        subprocess.Popen([sys.executable, "-c", code, f"--id={run_id}"]) for run_id in ("one-of-two", "one-of-two-more")
    )
    try:
        end_run("one-of-two")
        assert not psutil.pid_exists(orphan.pid)
        assert other.poll() is None
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()


def test_other_settings_do_not_join(tmp_path: Path) -> None:
    Trials(plan_of(tmp_path, "name=mine"))
    Trials(plan_of(tmp_path, "name=mine", "trials=90", "jobs=2"))
    with pytest.raises(UserError, match=r"the search mine was started with seed=1, not 2; give the same settings, or"):
        Trials(plan_of(tmp_path, "name=mine", "seed=2"))
    with pytest.raises(UserError, match=rf"started with {ALPHA}=uniform\(0.0, 1.0\), not uniform\(0.0, 2.0\)"):
        Trials(plan_of(tmp_path, "name=mine", f"{ALPHA}=uniform(0, 2)", f"{BETA}=uniform(0, 1)"))


def test_databases_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.db").write_text("this is no database, but a text that is long enough to be looked at" * 40)
    for storage, reason in (("bad.db", "file is not a database"), ("bad.db/search.db", "Not a directory|File exists")):
        with pytest.raises(UserError, match=rf"cannot use storage={tmp_path}/{storage}: .*({reason})"):
            Trials(plan_of(tmp_path, storage=storage))
    with pytest.raises(UserError, match="no search end-digits-"):
        Trials(plan_of(tmp_path, storage="new.db"), create=False)
    assert not (tmp_path / "new.db").exists()
    monkeypatch.setenv(STORAGE_URL, "nowhere://me:secret@host/db")
    with pytest.raises(UserError, match="cannot use storage=nowhere://host/db: ") as found:
        Trials(make_plan(read_search(["digits", "smoke", "method=end"])))
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("name", ["what?", "a#b", "50%41", "{x}", "a b", "ä&=;"])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_folder_is_the_one_of_that_name(tmp_path: Path, name: str, storage: str) -> None:
    folder = tmp_path / name
    trials = Trials(plan_of(folder, *GRID, storage=storage))
    assert trials.next("run") is not None
    assert (folder / storage).stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Trials(plan_of(folder, *GRID, storage=storage), create=False).counts()["running"] == 1
