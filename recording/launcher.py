"""Runs in processes of their own: how they are started, watched and stopped, and what became of each."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from debiaslab.core.errors import UserError
from debiaslab.core.program import program_command
from debiaslab.core.sharing import make_shared_folder
from debiaslab.recording.interruption import note_signals

POLL_SECONDS = 0.2
TERMINATION_SECONDS = 60
OUTPUTS = "_output"  # folder among the records for what the runs print


@dataclass(frozen=True, eq=False)
class Handle:
    """A started command line of `main.py`: its `arguments`, and the file that gets what it prints."""

    arguments: Sequence[str]
    output: Path
    start: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command line that has ended (`recording.command_line`; -N: ended by signal N)."""

    code: int
    output: Path

    @property
    def cause(self) -> str:
        """Such as "exit code 3", "killed by SIGKILL"."""
        return f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else f"exit code {self.code}"

    def last_line(self, prefix: str = "") -> str:
        """The last line that it printed, and if there are such, the last one that begins with `prefix`, without it."""
        try:
            text = self.output.read_text(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        own = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        return (own or lines or [""])[-1]


class Launcher(Protocol):
    """Where command lines are carried out."""

    def start(
        self, arguments: Sequence[str], output: Path, threads: int | None = None, held_files: Sequence[int] = ()
    ) -> Handle:
        """Start `main.py ARGUMENTS` in the current folder; what it prints goes to the file `output`.

        It has `threads` threads on the CPU (None: as many as torch takes), and keeps the open `held_files`
        (descriptors), and so their locks, until it ends. Raises `UserError` if it cannot be started.
        """
        ...

    def ended(self) -> list[tuple[Handle, Outcome]]:
        """What has ended since the last call."""
        ...

    def stop(self) -> list[tuple[Handle, Outcome]]:
        """Interrupt what is running, which records it, and wait; what does not end within a minute is killed."""
        ...


class Local:
    """Processes on this machine, each in a group of its own: Ctrl-C reaches them through this process alone."""

    def __init__(self) -> None:
        self.processes: dict[Handle, subprocess.Popen[bytes]] = {}

    def start(
        self, arguments: Sequence[str], output: Path, threads: int | None = None, held_files: Sequence[int] = ()
    ) -> Handle:
        environment = dict(os.environ) if threads is None else os.environ | {"OMP_NUM_THREADS": str(threads)}
        try:
            make_shared_folder(output.parent)
            with output.open("wb") as file:
                process = subprocess.Popen(
                    [*program_command(), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                    pass_fds=held_files,
                )
        except OSError as error:
            raise UserError(f"cannot start a run with its output in {output}: {error.strerror}") from None
        handle = Handle(arguments, output)
        self.processes[handle] = process
        return handle

    def ended(self) -> list[tuple[Handle, Outcome]]:
        over = [handle for handle, process in self.processes.items() if process.poll() is not None]
        return [(handle, Outcome(self.processes.pop(handle).returncode, handle.output)) for handle in over]

    def stop(self) -> list[tuple[Handle, Outcome]]:
        for process in self.processes.values():
            process.terminate()
        end = time.monotonic() + TERMINATION_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return self.ended()


class Work(Protocol):
    """What `supervise` carries out."""

    def advance(self) -> bool:
        """Start what can be started. False when nothing is left to be done."""
        ...

    def conclude(self, handle: Handle, outcome: Outcome, stopped: bool = False) -> None:
        """Note what became of a command line; `stopped`: it may have been interrupted by `supervise`."""
        ...

    def stopping(self) -> None:
        """Say that what is running is about to be stopped."""
        ...


def supervise(launcher: Launcher, work: Work) -> None:
    """Carry out `work` until nothing is left to be done.

    A signal that ends runs (`SIGNALS`) stops those that are running, which record it, and raises `KeyboardInterrupt`
    then; an error stops them, too.
    """
    with note_signals() as interruption:
        try:
            while not interruption.requested and work.advance():
                time.sleep(POLL_SECONDS)
                for handle, outcome in launcher.ended():
                    work.conclude(handle, outcome)
        finally:
            work.stopping()
            for handle, outcome in launcher.stop():
                work.conclude(handle, outcome, stopped=True)
    if interruption.requested:
        raise KeyboardInterrupt
