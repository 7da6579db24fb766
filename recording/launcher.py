"""Start, supervise and stop runs in child processes."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from debiaslab.core.errors import UserError
from debiaslab.core.gpus import visible_gpus
from debiaslab.core.program import program_command
from debiaslab.core.sharing import make_shared_folder
from debiaslab.recording.fork_server import Forked, ForkServer
from debiaslab.recording.interruption import note_signals

POLL_SECONDS = 0.2
TERMINATION_SECONDS = 60
OUTPUTS = "_output"  # folder among the records for the output of runs


@dataclass(frozen=True, eq=False)
class Handle:
    """A running command line of `main.py`: its `arguments`, and the file with its output."""

    arguments: Sequence[str]
    output: Path
    start: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command line that has ended (`recording.command_line`; -N: ended by signal N).

    `lost`: why there is no exit code, if its machine could not tell it.
    """

    code: int
    output: Path
    lost: str | None = None

    @property
    def cause(self) -> str:
        """Such as "exit code 3", "killed by SIGKILL"."""
        if self.lost is not None:
            return self.lost
        return f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else f"exit code {self.code}"

    def last_line(self, prefix: str = "") -> str:
        """The last line of the output or, if there are lines with `prefix`, the last of these, without the prefix."""
        try:
            text = self.output.read_text(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        own = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
        return (own or lines or [""])[-1]


class Launcher(Protocol):
    """Runs command lines."""

    def start(
        self, arguments: Sequence[str], output: Path, threads: int | None = None, held_files: Sequence[int] = ()
    ) -> Handle:
        """Start `main.py ARGUMENTS` in the current folder, with its output in the file `output`.

        It uses `threads` CPU threads (None: torch's default), and keeps `held_files` (descriptors) open, and so their
        locks, until it ends. Raises `UserError` if it cannot be started.
        """
        ...

    def ended(self) -> list[tuple[Handle, Outcome]]:
        """The processes that have ended since the last call."""
        ...

    def stop(self) -> list[tuple[Handle, Outcome]]:
        """Interrupt running processes, which record it, and wait; kill those that do not end within a minute.

        Jobs in the queue of a cluster are left there instead.
        """
        ...


class Local:
    """Processes on this machine, each in its own session, so that Ctrl-C reaches them only through this one.

    `warm`: they are forked from a process that has imported everything, where that is possible (`fork_server.py`; not
    where there is a GPU). Of several GPUs, each run sees the one that the fewest others use.
    """

    def __init__(self, warm: bool = True) -> None:
        self.gpus = visible_gpus()
        self.warm = warm and not self.gpus
        self.gpu_of: dict[Handle, str] = {}
        self.servers: dict[str | None, ForkServer] = {}  # by the number of threads, which the imports read
        self.processes: dict[Handle, subprocess.Popen[bytes] | Forked] = {}

    def start(
        self, arguments: Sequence[str], output: Path, threads: int | None = None, held_files: Sequence[int] = ()
    ) -> Handle:
        environment = dict(os.environ) if threads is None else os.environ | {"OMP_NUM_THREADS": str(threads)}
        gpu = self._choose_gpu(arguments)
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        try:
            make_shared_folder(output.parent)
            with output.open("wb") as file:
                process = self._fork(arguments, file.fileno(), environment, held_files) or subprocess.Popen(
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
        if gpu is not None:
            self.gpu_of[handle] = gpu
        return handle

    def _choose_gpu(self, arguments: Sequence[str]) -> str | None:
        """The GPU of several that the fewest runs use; None for a run that names another device or needs several, or
        only one GPU."""
        devices = [word.partition("=")[2] for word in arguments if word.startswith("device=")]
        several = any(word.startswith("ranks=") and word != "ranks=1" for word in arguments)
        if len(self.gpus) < 2 or several or devices[-1:] not in ([], ["auto"], ["cuda"]):
            return None
        return min(self.gpus, key=list(self.gpu_of.values()).count)

    def _fork(
        self, arguments: Sequence[str], output: int, environment: Mapping[str, str], held_files: Sequence[int]
    ) -> Forked | None:
        """A run from a server, which is started if need be; None if that is not possible."""
        if not self.warm:
            return None
        threads = environment.get("OMP_NUM_THREADS")
        try:
            if threads not in self.servers:
                self.servers[threads] = ForkServer(environment)
            return self.servers[threads].fork(arguments, output, environment, held_files)
        except OSError:
            self.warm = False  # it costs time, nothing else
            return None

    def ended(self) -> list[tuple[Handle, Outcome]]:
        over = [(handle, code) for handle, process in self.processes.items() if (code := process.poll()) is not None]
        for handle, _ in over:
            del self.processes[handle]
            self.gpu_of.pop(handle, None)
        return [(handle, Outcome(code, handle.output)) for handle, code in over]

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
        while self.servers:
            self.servers.popitem()[1].close()
        return self.ended()


class Work(Protocol):
    """A list of runs for `supervise` to process."""

    def advance(self) -> bool:
        """Start runs that can be started. Returns False when nothing is left to do."""
        ...

    def conclude(self, handle: Handle, outcome: Outcome, stopped: bool = False) -> None:
        """Handle the outcome of a command line; `stopped`: it may have been interrupted by `supervise`."""
        ...

    def stopping(self) -> None:
        """Called before running processes are stopped."""
        ...


def supervise(launcher: Launcher, work: Work) -> None:
    """Process `work` until nothing is left to do.

    A signal that ends runs (`SIGNALS`) stops the running ones, which record it, and then raises `KeyboardInterrupt`; an
    error stops them as well.
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
