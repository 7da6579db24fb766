"""Studies and searches on a real Slurm of two nodes: complete, left and found again, with jobs that are ended early."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from debiaslab.commands.searches.words import read_search
from debiaslab.commands.studies.jobs import jobs_of
from debiaslab.commands.studies.words import read_study
from debiaslab.commands.study import tasks_per_node
from debiaslab.core.errors import UserError
from debiaslab.recording.launcher import Handle, Launcher, Local, Outcome
from debiaslab.recording.observers import STATE
from debiaslab.recording.slurm import Resources, Slurm
from tests.commands.test_study_processes import complete, status
from tests.conftest import Command
from tests.conftest import Outcome as Told
from tests.slurm import NODES, Cluster, running_cluster
from tests.test_resume import measured

pytestmark = pytest.mark.processes

SHORT = ("digits", "smoke")
LONG = ("digits", "method=denetdm", "epochs=6", "method.hparams.batch_size=128", "checkpoint_seconds=0")


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole_cluster: Cluster, digits: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two idle nodes; what a failed test leaves in the queue is cancelled."""
    monkeypatch.setenv("SLURM_CONF", str(whole_cluster.configuration))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield whole_cluster
    whole_cluster.call("scancel", "--user=root")
    whole_cluster.kill_tasks()
    whole_cluster.wait(lambda: not whole_cluster.queue())


def left_when(command: Command, condition: Callable[[], object], *words: str) -> Told:
    """Call the command line, and press Ctrl-C when it looks at the queue and `condition` holds."""

    def look(self: Slurm) -> None:
        look_at_queue(self)
        if condition():
            signal.raise_signal(signal.SIGINT)

    look_at_queue = Slurm.look
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slurm, "look", look)
        return command(*words)


def saved(folder: Path) -> dict[int, Path]:
    """The runs that train and have saved their state, by seed."""
    found = {}
    for file in folder.glob(f"runs/*/{STATE}"):
        if status(file.parent) == "RUNNING":
            found[json.loads((file.parent / "config.json").read_text())["seed"]] = file.parent
    return found


def test_complete_and_failed(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    words = ("digits", "smoke", "method=lff", "seed=1", "variants=method.hparams.learning_rate=1e38,skewed1")
    outcome = command("study", "with", *words, "on=slurm")
    assert (outcome.code, outcome.err) == (1, "")
    assert "2 runs: 2 to run\n" in outcome.out
    assert "submitted 2 runs to Slurm" in outcome.out
    assert "test/unbiased (%)" in outcome.out  # the table
    (alone,) = command("with", *SHORT, "method=lff", "skewed1", "seed=1", "log_dir=alone").runs
    assert measured(complete(tmp_path)[1]) == measured(alone)

    failed, output, _ = outcome.out.splitlines()[-3:]
    assert failed.startswith("FAILED lff method.hparams.learning_rate=1e38 seed 1: training stopped: ")
    assert (tmp_path / output.split()[-1]).read_text().splitlines()[-1] == failed.partition("seed 1: ")[2]
    for place in ("on=slurm", "on=local"):
        assert "2 runs: 1 to resume, 1 done" in command("study", "with", *words, place, "list=True").out


def test_left_found_again_and_cancelled(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    words = (*SHORT, "method=erm", "seeds=1-2", "on=slurm", "jobs=1", "slurm.begin=now+1hour")
    outcome = left_when(command, lambda: len(cluster.queue()) == 2, "study", "with", *words)
    assert outcome.code == 130
    assert "2 runs left to Slurm; the same words come back to them, with cancel=True they are cancelled" in outcome.out
    assert outcome.err.startswith(
        "interrupted; to resume: python main.py study with digits smoke method=erm seeds=1-2 "
    )
    listed = command("study", "with", *words, "list=True").out
    assert "2 runs: 2 queued; 1 at a time" in listed
    job_ids = list(cluster.queue())
    assert all(f"job {job_id}" in listed for job_id in job_ids)

    again = left_when(command, lambda: True, "study", "with", *words)
    assert "submitted 0 runs to Slurm" in again.out
    assert list(cluster.queue()) == job_ids
    assert "cancelled 2 runs" in command("study", "with", *words, "cancel=True").out
    cluster.wait(lambda: not cluster.queue())
    assert "2 runs: 2 to run" in command("study", "with", *words, "list=True").out
    assert "cancelled 0 runs" in command("study", "with", *words, "cancel=True").out


def test_node_killed_and_preempted(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    words = (*LONG, "seeds=1-2", "on=slurm", "partition=low")
    left_when(command, lambda: True, "study", "with", *words)
    held = cluster.hold_tasks(2, lambda index: index + 1 in saved(tmp_path))
    before = saved(tmp_path)
    first, second = (held[index].environ()["SLURMD_NODENAME"] for index in (0, 1))
    cluster.kill_node(first)
    urgent = cluster.call("sbatch", "--parsable", "-phigh", f"-w{second}", "-o/dev/null", "--wrap=true").strip()
    cluster.wait(lambda: urgent not in cluster.queue())  # Slurm also lets the stopped process run on
    cluster.start_node(first)
    outcome = command("study", "with", *words)
    assert outcome.code == 0
    assert [line for line in outcome.out.splitlines() if line.startswith(("submitted 1", "submitted 2"))] == []
    assert "(n=2)" in outcome.out
    assert {seed: status(record) for seed, record in before.items()} == {1: "RUNNING", 2: "INTERRUPTED"}
    for seed, record in complete(tmp_path).items():
        assert resumed_from(record) == before[seed].name
        (alone,) = command("with", *LONG, f"seed={seed}", "log_dir=alone").runs
        assert measured(record) == measured(alone)
    assert set(complete(tmp_path)) == {1, 2}


def test_cancelled_and_out_of_time(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    words = (*LONG, "seed=1", "on=slurm")
    left_when(command, lambda: True, "study", "with", *words)
    cluster.hold_tasks(1, lambda index: saved(tmp_path))
    (first,) = saved(tmp_path).values()
    assert "cancelled 1 run\n" in command("study", "with", *words, "cancel=True").out
    cluster.wait(lambda: not cluster.queue())
    assert "1 run: 1 to resume" in command("study", "with", *words, "list=True").out

    left_when(command, lambda: True, "study", "with", *words, "hours=1")
    cluster.hold_tasks(1, lambda index: saved(tmp_path))
    (job_id,) = cluster.queue()
    cluster.call("scontrol", "update", f"JobId={job_id}", "EndTime=now+60")  # within the seconds of the warning
    (second,) = saved(tmp_path).values()
    cluster.wait(lambda: status(second) == "INTERRUPTED")
    cluster.call("scontrol", "update", f"JobId={job_id}", "TimeLimit=60")  # for the next attempt
    assert "1 run: 1 " in command("study", "with", *words, "list=True").out  # queued or running again
    outcome = command("study", "with", *words)
    assert (outcome.code, "submitted 1 run" in outcome.out) == (0, False)
    assert (resumed_from(complete(tmp_path)[1]), resumed_from(second)) == (second.name, first.name)


def resumed_from(record: Path) -> str:
    return Path(json.loads((record / "info.json").read_text())["resumed_from"]).name


def tasks(cluster: Cluster) -> dict[str, str]:
    """The node of each task of the jobs that are running, by the number of the task."""
    found = {}
    for process in (process for node in NODES for process in cluster.processes(node)):
        with suppress(psutil.Error):
            if "submitit.core._submit" in process.cmdline():
                found[process.environ()["SLURM_PROCID"]] = process.environ()["SLURMD_NODENAME"]
    return found


def test_a_run_on_two_nodes(
    cluster: Cluster, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is killed; then the time of the job is over; the result is that of two processes on one machine."""

    def with_state() -> set[Path]:
        return {file.parent for file in tmp_path.glob(f"runs/*/{STATE}")}

    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    run = ("digits", "method=lff", "epochs=6", "method.hparams.batch_size=128", "checkpoint_seconds=0", "ranks=2")
    words = (*run, "seed=1", "on=slurm", "nodes=2")
    left_when(command, lambda: True, "study", "with", *words)
    cluster.hold_tasks(1, lambda index: with_state())
    assert sorted(tasks(cluster)) == ["0", "1"]
    assert sorted(tasks(cluster).values()) == sorted(NODES)
    (first,) = with_state()
    cluster.kill_node(tasks(cluster)["1"])
    cluster.wait(lambda: not tasks(cluster))
    for node in NODES:
        cluster.start_node(node)

    (held,) = cluster.hold_tasks(1, lambda index: with_state() - {first}).values()
    (second,) = with_state() - {first}
    (job_id,) = cluster.queue()
    cluster.call("scancel", "--signal=USR2", job_id)
    held.resume()
    outcome = command("study", "with", *words)
    assert outcome.code == 0
    assert "submitted 1" not in outcome.out
    last = complete(tmp_path)[1]
    assert resumed_from(second) == first.name
    assert resumed_from(last) == second.name
    (alone,) = command("with", *run, "seed=1", "log_dir=alone").runs
    assert measured(last) == measured(alone)


def test_refused(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    words = (*SHORT, "method=erm", "seed=1", "on=slurm")
    outcome = command("study", "with", *words, "partition=medium")
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err == (
        "error: Slurm refuses the jobs: invalid partition specified: medium;"
        " Batch job submission failed: Invalid partition name specified\n"
    )
    assert list(tmp_path.glob("runs/_slurm/*")) == []


def test_search(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    words = (*SHORT, "method=lff", "trials=3", "sampler=random", "on=slurm", "jobs=2")
    refused = command("search", "with", *words, "storage=trials.db")
    assert refused.err.startswith(
        "error: storage=trials.db: SQLite is for workers on one machine; on Slurm use a file "
    )
    later = (*words, "slurm.begin=now+1hour")
    left = left_when(command, lambda: True, "search", "with", *later)
    assert left.code == 130
    assert "2 workers left to Slurm; the same words come back to them" in left.out
    assert "2 workers in the queue" in command("search", "with", *later, "list=True").out
    assert "cancelled 2 workers\n" in command("search", "with", *later, "cancel=True").out
    cluster.wait(lambda: not cluster.queue())

    outcome = command("search", "with", *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "submitted 2 workers to Slurm" in outcome.out
    assert "3 complete, of 3 trials; again: " in outcome.out
    assert [status(file.parent) for file in tmp_path.glob("runs/*/run.json")] == ["COMPLETED"] * 3
    again = command("search", "with", *words)
    assert ("submitted" in again.out, "3 complete, of 3 trials; again: " in again.out) == (False, True)


def test_a_study_that_tunes(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    """Left, cancelled, and come back to; its trials and tuned runs are those of a study on this machine."""
    words = (*SHORT, "methods=erm,lff", "seed=1", "search=2", "jobs=2")
    there = (*words, "on=slurm")
    later = (*there, "slurm.begin=now+1hour")
    left = left_when(command, lambda: True, "study", "with", *later)
    assert left.code == 130
    assert "4 workers left to Slurm; the same words come back to them" in left.out
    listed = command("study", "with", *later, "list=True").out
    assert "erm: 0 of 2 trials of the search erm-digits-" in listed
    assert "4 workers in the queue" in listed
    assert "cancelled 4 workers\ncancelled 0 runs\n" in command("study", "with", *later, "cancel=True").out
    cluster.wait(lambda: not cluster.queue())

    outcome = command("study", "with", *there)
    assert (outcome.code, outcome.err) == (0, ""), outcome.out
    assert "submitted 4 workers to Slurm" in outcome.out
    assert "\nlff: 2 complete, of 2 trials\n" in outcome.out
    assert "submitted 4 runs to Slurm" in outcome.out
    again = command("study", "with", *there)
    assert ("submitted" in again.out, "4 runs: 4 done" in again.out) == (False, True)

    here = command("study", "with", *words, "log_dir=here")
    assert here.code == 0
    assert settings_of_runs(tmp_path / "runs") == settings_of_runs(tmp_path / "here")
    # of each method, two trials, one run with the default and one with the best settings
    assert len(settings_of_runs(tmp_path / "runs")) == 8
    assert tables_in(again.out) == tables_in(here.out)


def settings_of_runs(folder: Path) -> list[str]:
    """What is trained in each run in `folder`, sorted."""
    configs = [json.loads(file.read_text()) for file in folder.glob("*/config.json")]
    parts = ("method", "trial", "tuned", "seed")
    return sorted(json.dumps([config[part] for part in parts], sort_keys=True) for config in configs)


def tables_in(text: str) -> str:
    return text[text.index("test/unbiased (%)") :]


def test_workers_that_end_before_the_trials(cluster: Cluster, command: Command) -> None:
    words = (*SHORT, "methods=lff", "seed=1", "search=1", "on=slurm", "slurm.begin=now+1hour")
    outcome = left_when(command, lambda: cluster.call("scancel", "--user=root") and False, "study", "with", *words)
    assert outcome.code == 2
    assert outcome.err.startswith("error: lff: 0 of 1 trials of the search lff-digits-")
    assert outcome.err.endswith("done, and no worker is left; the same words start others\n")


@pytest.mark.parametrize("place", ["here", "slurm"])
def test_launchers_tell_each_outcome_once(cluster: Cluster, tmp_path: Path, place: str) -> None:
    launcher: Launcher = Local() if place == "here" else Slurm(tmp_path, Resources())
    folder = tmp_path / "_output"
    started = [
        launcher.start(["help", "results"], folder / "help.txt", 1),
        launcher.start(["nonsense"], folder / "nonsense.txt", 1),
    ]
    found: list[tuple[Handle, Outcome]] = []

    def all_ended() -> bool:
        found.extend(launcher.ended())
        return len(found) == 2

    cluster.wait(all_ended)
    assert launcher.ended() == []
    assert launcher.stop() == []
    told = dict(found)
    assert [(told[handle].code, told[handle].output) for handle in started] == [
        (0, folder / "help.txt"),
        (2, folder / "nonsense.txt"),
    ]
    assert "results" in (folder / "help.txt").read_text()
    assert told[started[1]].last_line("error: ").startswith("unknown command 'nonsense'")


# ---- without Slurm


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["partition=gpu"], "partition=gpu is an option of on=slurm: add that, or leave it out"),
        (["slurm.account=a"], "slurm.account=a is an option of on=slurm: add that, or leave it out"),
        (["on=slrm"], "unknown place 'slrm'; did you mean 'slurm'?"),
        (["on=slurm", "hours=long"], "hours=long: must be a number of hours above 0, such as 12 or 0.5"),
        (["on=slurm", "hours=-1"], "hours=-1: must be a number of hours above 0, such as 12 or 0.5"),
        (["on=slurm", "gpus=some"], "gpus=some: must be a whole number, 1 or more"),
        (["on=slurm", "slurm.time=60"], "slurm.time=60: use hours="),
        (["on=slurm", "slurm.array=1-3"], "slurm.array=1-3: not an option of sbatch that can be given here"),
        (["nodes=2"], "nodes=2 is an option of on=slurm: add that, or leave it out"),
        (["on=slurm", "slurm.nodes=2"], "slurm.nodes=2: use nodes="),
        (["on=slurm", "together=True"], "together: on Slurm each run is a job of its own; leave it out"),
        (["on=slurm", "nodes=2", "search=3"], "nodes=2: a trial is on one node; leave it out, or search=3"),
    ],
)
def test_wrong_words(words: list[str], error: str) -> None:
    with pytest.raises(UserError) as caught:
        read_study(["digits", *words])
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize(
    ("words", "shared"),
    [
        (["ranks=4"], 2),
        (["ranks=2"], 1),
        (["ranks=3"], "3"),
        (["variants=ranks=2,ranks=4+skewed1"], "2 and 4"),
        ([], "1"),
    ],
)
def test_nodes_share_the_processes_of_a_run_evenly(words: list[str], shared: int | str) -> None:
    jobs = jobs_of(read_study([*SHORT, "method=erm", "seed=1", *words]))
    assert tasks_per_node(jobs, None) is None
    if isinstance(shared, int):
        assert tasks_per_node(jobs, 2) == shared
    else:
        message = f"nodes=2: must share the processes of each run evenly, with ranks={shared}; set ranks too"
        with pytest.raises(UserError, match=f"^{message}$"):
            tasks_per_node(jobs, 2)


def test_a_trial_is_on_one_node() -> None:
    with pytest.raises(UserError, match="nodes=2: a trial is on one node; leave it out"):
        read_search([*SHORT, "method=erm", "on=slurm", "jobs=2", "nodes=2"])


def test_no_slurm_here(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    outcome = command("study", "with", *SHORT, "on=slurm")
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err == "error: on=slurm: there is no sbatch here; use a machine that submits jobs, or on=local\n"
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.delitem(sys.modules, "debiaslab.recording.slurm", raising=False)
    monkeypatch.delitem(sys.modules, "debiaslab.recording.slurm_task", raising=False)
    assert command("study", "with", *SHORT, "on=slurm").err == (
        'error: submitit is not installed: pip install ".[cluster]"\n'
    )
