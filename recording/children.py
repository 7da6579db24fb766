"""Several runs at a time, each in a process of its own; and Ctrl-C that waits until it does no harm."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO

from debiaslab.recording.launch import launch

TERMINATION_SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """A run that has ended: its id, the exit code of its process (-N: signal N), and the last line that it printed."""

    run_id: str
    code: int
    last_line: str


class Children:
    """Runs in processes of their own; at the end of the block, however it comes, those still running are ended."""

    def __init__(self, threads: int | None) -> None:
        """Each takes so many `threads` on the CPU; None: as many as torch takes."""
        self.threads = threads
        self.running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *error: object) -> None:
        self.terminate()

    def start(self, words: Sequence[str], run_id: str) -> None:
        """Start `main.py with WORDS`, to be recorded under `run_id`."""
        output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the run has ended)
        self.running[run_id] = launch(words, run_id, output, self.threads), output

    def ended(self) -> list[Ended]:
        """The runs that have ended since the last call."""
        over = [run_id for run_id, (process, _) in self.running.items() if process.poll() is not None]
        return [self._taken(run_id) for run_id in over]

    def terminate(self) -> list[Ended]:
        """End all runs, which record that they were interrupted; one that does not end within a minute is killed."""
        terminate([process for process, _ in self.running.values()])
        return self.ended()

    def _taken(self, run_id: str) -> Ended:
        process, output = self.running.pop(run_id)
        with output:
            output.seek(0)
            lines = output.read().decode(errors="replace").split("\n")
        return Ended(run_id, process.returncode, next((line.strip() for line in reversed(lines) if line.strip()), ""))


def terminate(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Interrupt them all, and wait for all; one that does not end within a minute is killed."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + TERMINATION_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Interruption:
    """`requested`: whether Ctrl-C or SIGTERM has come."""

    requested = False


@contextmanager
def noted_interruption() -> Iterator[Interruption]:
    """Within the block, the first Ctrl-C or SIGTERM is noted only; the next one raises KeyboardInterrupt."""
    noted = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        if noted.requested:
            raise KeyboardInterrupt
        noted.requested = True

    handlers = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
