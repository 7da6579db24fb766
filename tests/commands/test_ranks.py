"""ranks=N on the command line: several processes train one run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from debiaslab import main
from debiaslab.commands import rank
from debiaslab.commands.ranks import SharedRun
from debiaslab.config import ex
from debiaslab.core import ranks
from debiaslab.core.errors import INTERRUPTED, LEFT, TrainingDiverged, UserError
from debiaslab.models.batch_norm import share_encoders
from debiaslab.recording.configuration import configuration
from debiaslab.recording.observers import STATE
from debiaslab.settings.setup import Setup, check
from debiaslab.training.checkpoint import LAST, read_checkpoint, without_prefix
from debiaslab.training.loop import Options, Trainer
from tests.conftest import Command, only_run
from tests.methods.building import Watch
from tests.training.parts import Parts

ROOT = Path(main.__file__).parents[1]
SHORT = ("digits", "method=lff", "epochs=3", "method.hparams.batch_size=64", "checkpoint_seconds=0", "device=cpu")


def find_process(parent: int, number: int) -> int:
    """The process id of process `number` of the run that `parent` has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent and f"RANK={number}".encode() in environment:
            return int(folder.name)
    raise AssertionError("not found")


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_process_ends_the_others_and_the_run_can_be_resumed(
    command: Command, tmp_path: Path, data_root: Path, digits: object
) -> None:
    """Like one process whose encoders take each batch in two parts, to the bit."""
    words = [*SHORT, "ranks=2", f"data.root={data_root}"]
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "with", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not any(len(file.read_text().splitlines()) > 1 for file in tmp_path.glob("runs/*/evaluations.jsonl")):
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(find_process(started.pid, 1), signal.SIGKILL)
    _, err = started.communicate()
    folder = only_run(tmp_path)
    resume = f"python main.py resume {folder.relative_to(tmp_path)}"
    assert err == f"error: process 1 of 2 was killed by SIGKILL; to resume: {resume}\n"
    assert started.returncode == 2
    assert (folder / STATE).exists()

    resumed = command("resume", str(folder))
    assert (resumed.code, resumed.err) == (0, ""), resumed.out
    assert resumed.record("config.json")["ranks"] == 2
    assert resumed.record("info.json")["machine"]["ranks"] == 2

    setup, data = check(configuration(ex, words)).with_data()
    method, sharing = setup.build_method(data, torch.device("cpu")), Parts(2)
    share_encoders(method, sharing)
    with ranks.shared_by(sharing):
        Trainer(method, data, Options(setup.run.seed, setup.run.selection), Watch()).fit()
    last = without_prefix("method", read_checkpoint(resumed.runs[0] / LAST)[0])
    assert [name for name, values in method.weights().items() if not torch.equal(values, last[name])] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ranks=0"], "ranks=0: must be positive"),
        (["ranks=65"], "ranks=65: a batch of 64 has no image for some process; use at most ranks=64"),
        (["ranks=2", "cuda_graphs=True"], "a step of ranks=2 processes cannot be captured; set it to False"),
    ],
)
def test_what_cannot_be_shared_is_told_before_anything_starts(
    command: Command, words: list[str], message: str, tmp_path: Path
) -> None:
    outcome = command("with", *SHORT, *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [("together", "with", "seeds=1,2"), ("study", "with", "seeds=1,2", "together=True")])
def test_runs_that_are_trained_together_share_one_process(command: Command, words: tuple[str, ...]) -> None:
    outcome = command(*words, *SHORT[:1], "method=erm", "smoke", "ranks=2")
    assert outcome.code == 2
    assert "ranks: runs that are trained together share one process; leave out ranks, or together" in outcome.err


def test_there_must_be_a_gpu_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def setup(device: str) -> Setup:
        return check(configuration(ex, [*SHORT[:-1], "ranks=3", f"device={device}"]))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("auto", "cuda"):
        with pytest.raises(UserError, match="ranks=3: this machine has 2 GPUs; use at most as many, or device=cpu"):
            setup(device).check_ranks()
    with pytest.raises(UserError, match="each process has a GPU of its own; leave out device=cuda:1"):
        setup("cuda:1").check_ranks()
    setup("cpu").check_ranks()


def shared_run(tmp_path: Path) -> SharedRun:
    setup = check(configuration(ex, [*SHORT, "ranks=2", f"log_dir={tmp_path}"]))
    run = ex._create_run("train", {}, (), None, None, None)  # type: ignore[no-untyped-call]
    run._id = "a-run"
    return SharedRun(run, setup, {})


def test_the_error_of_one_process_is_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shared_run(tmp_path)
    run.require_success({}, tmp_path)
    for error in (UserError("cannot read x"), TrainingDiverged("loss is nan")):
        monkeypatch.setenv("RANK", "1")
        rank.leave(error, tmp_path)
        with pytest.raises(type(error), match=str(error)):
            run.require_success({0: LEFT, 1: 1}, tmp_path)
        (tmp_path / "error_1.json").unlink()


def test_a_bug_of_one_process_is_told_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    try:
        raise ZeroDivisionError("of something")
    except ZeroDivisionError as error:
        rank.leave(error, tmp_path)
    with pytest.raises(UserError, match="process 1 of the run has failed"):
        shared_run(tmp_path).require_success({0: LEFT, 1: 1}, tmp_path)
    assert capsys.readouterr().err.startswith("Traceback")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({0: INTERRUPTED, 1: -9}, "process 1 of 2 was killed by SIGKILL"),
        ({0: -15, 1: -9}, "process 1 of 2 was killed by SIGKILL"),
        ({0: -15, 1: LEFT}, "process 0 of 2 was killed by SIGTERM"),
        ({0: LEFT, 1: 77}, "process 1 of 2 ended with exit code 77"),
        ({1: LEFT}, "the processes of the run have lost each other"),
    ],
)
def test_what_has_ended_the_processes(tmp_path: Path, codes: dict[int, int], message: str) -> None:
    (tmp_path / "a-run").mkdir()
    (tmp_path / "a-run" / STATE).touch()
    with pytest.raises(UserError, match=f"^{message}; to resume: .* resume .*a-run$"):
        shared_run(tmp_path).require_success(codes, tmp_path)


def test_interrupted_processes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted$"):
        shared_run(tmp_path).require_success({0: INTERRUPTED, 1: LEFT}, tmp_path)


def test_a_process_finds_more_than_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    outcome = command("with", *SHORT, "ranks=2")
    assert outcome.err == "error: ranks=2: there are 3 processes (WORLD_SIZE); set ranks=3\n"
