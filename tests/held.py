"""Processes that a test stops at a state of their work, and lets run on: nothing depends on how fast the machine is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from debiaslab import main
from debiaslab.recording.observers import STATE

PATIENCE = 240  # seconds, on a busy machine


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Return when `condition` holds; fail if `process` ends before it does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"too late: {process.communicate()}")
        time.sleep(0.002)


def start_command(folder: Path, name: str, *words: str) -> "subprocess.Popen[str]":
    """Start `main.py NAME with WORDS` in `folder`."""
    command = [sys.executable, str(main.__file__), name, "with", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)  # type: ignore[call-overload, no-any-return]


def hold_training(parent: "subprocess.Popen[str]", runs: Path) -> psutil.Process:
    """Stop the run that `parent` has started, recorded in the folder `runs`, as soon as it trains."""
    (run,) = hold_runs(parent, 1, lambda run_id: (runs / run_id / STATE).exists())
    return run


def hold_runs(parent: "subprocess.Popen[str]", count: int, reached: Callable[[str], bool]) -> list[psutil.Process]:
    """Stop each of the `count` runs that `parent` has started as soon as the run of its id has `reached` a state."""
    held: dict[str, psutil.Process] = {}

    def all_held() -> bool:
        for child in psutil.Process(parent.pid).children():
            with suppress(psutil.NoSuchProcess):  # one that has just ended
                for run_id in (word[5:] for word in child.cmdline() if word.startswith("--id=")):
                    if run_id not in held and reached(run_id):
                        child.suspend()
                        held[run_id] = child
        return len(held) == count

    wait_until(all_held, parent)
    return list(held.values())


def release_when_signalled(held: psutil.Process, number: signal.Signals, parent: "subprocess.Popen[str]") -> None:
    """Let the stopped process run on once the signal has been sent to it, so that it sees the signal first."""
    wait_until(lambda: pending(held.pid) & 1 << (number - 1), parent)
    held.resume()


def pending(pid: int) -> int:
    """The signals that wait for a process to run on, as bits."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))
