"""What a launcher promises, for processes that are started anew and for those that a server forks."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from debiaslab.core.errors import UserError
from debiaslab.recording import fork_server, launcher
from debiaslab.recording.fork_server import Forked
from debiaslab.recording.launcher import Handle, Local, Outcome

ROOT = Path(__file__).parents[2]
STAND_IN = [sys.executable, str(Path(__file__).with_name("stand_in.py"))]
PATIENCE = 120  # seconds, on a busy machine
WARM = pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return value


def outcome_of(local: Local, handle: Handle) -> Outcome:
    return until(lambda: dict(local.ended()).get(handle))  # type: ignore[no-any-return]


@pytest.fixture
def local(warm: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Local]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    for module in (launcher, fork_server):
        monkeypatch.setattr(module, "program_command", lambda: STAND_IN)
    made = Local(warm)
    yield made
    made.stop()


@WARM
def test_a_run_has_what_a_new_process_has(local: Local, warm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome_of(local, local.start(["exit", "0"], Path("first.txt"), 3))
    monkeypatch.setenv("MARK", "later")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    handle = local.start(["tell", "a word", "--id=7"], Path("output") / "run.txt", 3)
    assert isinstance(local.processes[handle], Forked) == warm
    outcome = outcome_of(local, handle)
    first, facts = outcome.output.read_text().splitlines()
    assert (outcome.code, first) == (0, "to the error stream")
    mask = os.umask(0)
    os.umask(mask)
    assert json.loads(facts) == {
        "arguments": ["tell", "a word", "--id=7"],
        "session": True,
        "folder": os.getcwd(),
        "threads": "3",
        "mark": "later",
        "id": ["--id=7"],
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "input": "",
        "terminal": False,
        "parent": os.getpid(),
        "mask": mask,
        "ignored": [own.name for own in signal.Signals if signal.getsignal(own) == signal.SIG_IGN],
    }


@WARM
def test_exit_codes(local: Local) -> None:
    codes = [outcome_of(local, local.start(["exit", str(code)], Path("o.txt"))).code for code in (0, 1, 2, 130)]
    assert codes == [0, 1, 2, 130]
    handle = local.start(["wait", "began", "never"], Path("o.txt"))
    until(Path("began.ready").exists)
    os.kill(local.processes[handle].pid, signal.SIGKILL)
    outcome = outcome_of(local, handle)
    assert (outcome.code, outcome.cause) == (-9, "killed by SIGKILL")


@WARM
def test_stop_lets_runs_end_and_kills_what_does_not(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = local.start(["wait", "one", "never", "ending"], Path("one.txt"))
    until(Path("one.ready").exists)
    over = local.start(["exit", "3"], Path("three.txt"))
    codes = {handle: outcome.code for handle, outcome in local.stop()}
    assert codes[ending] == 130
    assert codes[over] in (3, -signal.SIGTERM)
    monkeypatch.setattr(launcher, "TERMINATION_SECONDS", 0)
    stuck = local.start(["wait", "two", "never"], Path("two.txt"))
    until(Path("two.ready").exists)
    os.kill(local.processes[stuck].pid, signal.SIGSTOP)  # SIGTERM waits, too
    ((handle, outcome),) = local.stop()
    assert (handle, outcome.code) == (stuck, -signal.SIGKILL)


@WARM
def test_held_files_are_locked_until_the_run_ends(local: Local) -> None:
    def is_free() -> bool:
        with Path("lock").open("ab") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    with Path("lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        handle = local.start(["wait", "began", "end"], Path("o.txt"), held_files=[file.fileno()])
    until(Path("began.ready").exists)
    assert not is_free()
    Path("end").touch()
    assert outcome_of(local, handle).code == 0
    assert is_free()  # although the server is still there


@pytest.mark.parametrize("warm", [True])
def test_without_its_server_a_run_goes_on_and_others_start(local: Local) -> None:
    handle = local.start(["wait", "began", "end"], Path("o.txt"))
    until(Path("began.ready").exists)
    (server,) = local.servers.values()
    server.process.kill()
    server.process.wait()
    later = local.start(["exit", "3"], Path("p.txt"))
    assert isinstance(local.processes[later], subprocess.Popen)
    assert outcome_of(local, later).code == 3
    Path("end").touch()
    assert (outcome_of(local, handle).code, Path("o.txt").read_text()) == (0, "seen\n")


@WARM
def test_a_run_outlives_a_launcher_that_is_killed(local: Local, warm: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(warm), *STAND_IN], stdout=subprocess.DEVNULL, start_new_session=True
    )
    until(Path("began.ready").exists)
    parent.kill()
    parent.wait()
    Path("end").touch()
    assert until(Path("o.txt").read_text) == "seen\n"


KILLED = """
import sys, time
from pathlib import Path
from debiaslab.recording import fork_server, launcher
launcher.program_command = fork_server.program_command = lambda: sys.argv[2:]
local = launcher.Local(sys.argv[1] == "True")
local.start(["wait", "began", "end"], Path("o.txt"))
time.sleep(1000)
"""


@WARM
def test_an_output_that_cannot_be_written(local: Local) -> None:
    Path("o.txt").mkdir()
    with pytest.raises(UserError, match=r"output in o\.txt: Is a directory"):
        local.start(["exit", "0"], Path("o.txt"))


@pytest.mark.processes
def test_a_forked_run_records_what_another_records(
    tmp_path: Path, data_root: Path, digits: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["with", "digits", "smoke", "method=denetdm", f"data.root={data_root}"]
    found = []
    for warm in (True, False):
        local = Local(warm)
        handle = local.start([*words, "--id=same", "log_dir=runs"], tmp_path / "same.txt", 1)
        assert isinstance(local.processes[handle], Forked) == warm
        assert outcome_of(local, handle).code == 0
        local.stop()
        record = {path.name: path.read_bytes() for path in Path("runs/same").iterdir()}
        record["output"] = (tmp_path / "same.txt").read_bytes()
        for name in ("run.json", "metrics.json"):
            record[name] = json.dumps(without_times(json.loads(record[name]))).encode()
        Path("runs").rename(f"runs-{warm}")
        found.append(record)
    forked, other = found
    assert forked.keys() == other.keys()
    assert [name for name in forked if forked[name] != other[name]] == []


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if "time" not in name and name != "heartbeat"}
    return value
