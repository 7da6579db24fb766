"""Start the processes of a run with ranks=N, by torchrun's launcher, and join them.

They learn their places from torchrun's environment: RANK, LOCAL_RANK, WORLD_SIZE. Each prepares the same run
(`commands/rank.py`); number 0 records it. If one of them ends early, the launcher ends the others, and the run ends
with the error of that one.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import distributed

from debiaslab.config import Run
from debiaslab.core.errors import INTERRUPTED, LEFT, TrainingDiverged, UserError
from debiaslab.core.program import PROCESS, program_command
from debiaslab.core.ranks import of_this_process
from debiaslab.recording.command_line import command_line_of
from debiaslab.recording.observers import STATE, new_run_id
from debiaslab.settings.setup import Setup

WAIT = timedelta(minutes=30)  # for a process that is slower than the others, such as number 0 when it saves
TOGETHER = "ranks: runs that are trained together share one process; leave out ranks, or together"
ERRORS: Mapping[str, type[Exception]] = {"UserError": UserError, "TrainingDiverged": TrainingDiverged}


def is_process_of_run() -> bool:
    """Whether this process was started as one of several, with torchrun's variables."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def join(setup: Setup) -> None:
    """Make this one of the processes of the run. Raises `UserError` if there are others than `ranks` says."""
    if of_this_process() is not None:  # of a run before
        return
    size = int(os.environ["WORLD_SIZE"])
    if size != setup.run.ranks:
        raise UserError(f"ranks={setup.run.ranks}: there are {size} processes (WORLD_SIZE); set ranks={size}")
    device = setup.device()
    if device.type == "cuda":
        distributed.init_process_group("nccl", timeout=WAIT, device_id=device)
    else:
        distributed.init_process_group("gloo", timeout=WAIT)


@dataclass(frozen=True)
class SharedRun:
    """A run, checked and ready to be started in processes of its own."""

    run: Run
    setup: Setup
    call: Mapping[str, Any]  # the arguments of `prepare`

    def start(self, *more: Any) -> Run:
        """Start the processes, and wait. Raises the error of the process that has ended the others."""
        if more:
            raise UserError(TOGETHER)
        options = dict(self.call["options"] or {})
        self.run._id = options["--id"] = options.get("--id") or new_run_id()
        with TemporaryDirectory() as name:
            folder = Path(name)
            path = folder / "run.json"
            path.write_text(json.dumps({**self.call, "options": options}))
            ended = launch([*program_command(), PROCESS, str(path)], self.setup.run.ranks, folder)
            self.require_success(ended, folder)
        return self.run

    def require_success(self, ended: Mapping[int, int], folder: Path) -> None:
        """Raise what has ended the processes, given the exit codes of those that have failed, by their numbers."""
        for path in sorted(folder.glob("error_*.json")):
            error = json.loads(path.read_text())
            if error["kind"] in ERRORS:
                raise ERRORS[error["kind"]](error["message"])
            sys.stderr.write(error["traceback"])
            raise UserError(f"process {error['rank']} of the run has failed ({error['message']}){self.how_to_resume()}")
        # by SIGTERM, the launcher ends the others of a process that has failed
        for rank, code in sorted(ended.items(), key=lambda item: (item[1] == -signal.SIGTERM, item[0])):
            if code not in (LEFT, INTERRUPTED):  # those have ended because of another one
                cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                raise UserError(f"process {rank} of {self.setup.run.ranks} {cause}{self.how_to_resume()}")
        if INTERRUPTED in ended.values():
            raise KeyboardInterrupt(f"interrupted{self.how_to_resume()}")
        if ended:
            raise UserError(f"the processes of the run have lost each other{self.how_to_resume()}")

    def how_to_resume(self) -> str:
        folder = Path(self.setup.run.log_dir) / str(self.run._id)
        if not (folder / STATE).exists():
            return ""
        return f"; to resume: {command_line_of('resume', [], runs=[os.path.relpath(folder)])}"


def launch(command: list[str], count: int, folder: Path) -> dict[int, int]:
    """Run `command` in `count` processes on this machine; returns the exit codes of those that have failed.

    What all but number 0 print goes into files in `folder`.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        max_restarts=0,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        logs_specs=DefaultLogsSpecs(str(folder), redirects=dict.fromkeys(range(1, count), Std.ALL)),
    )
    with quiet_launcher(threads=max(1, (os.cpu_count() or 1) // count)):
        try:
            elastic_launch(config, command[0])(*command[1:])
        except ChildFailedError as error:
            return {rank: failure.exitcode for rank, failure in error.failures.items()}
        except SignalException:
            return dict.fromkeys(range(count), INTERRUPTED)
    return {}


@contextmanager
def quiet_launcher(threads: int) -> Iterator[None]:
    """Within the block, the launcher logs nothing, and what it starts has `threads` CPU threads, if not set otherwise.

    Afterwards, signals are handled as before.
    """
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    }
    given = os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        if given is None:
            del os.environ["OMP_NUM_THREADS"]
        for number, handler in before.items():
            signal.signal(number, handler)
