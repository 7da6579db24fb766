"""One of the processes of a run with ranks=N, started by `commands/ranks.py` as `main.py rank FILE`."""

import ctypes
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from torch import distributed

from debiaslab.commands.ranks import ERRORS
from debiaslab.commands.runs import prepare
from debiaslab.core.errors import INTERRUPTED, LEFT, RankLost
from debiaslab.core.parallel import DIE_WITH_PARENT
from debiaslab.recording.host import guard_host_facts
from debiaslab.recording.interruption import raise_on_signals


def run(path: Path) -> int:
    """Prepare and start the run with the arguments of `prepare` in the file `path`; returns the exit code.

    Prints no error, but leaves it beside that file.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    guard_host_facts()
    call = json.loads(path.read_text())
    with raise_on_signals():
        try:
            prepare(call.pop("command"), call.pop("settings"), call.pop("named_configs"), **call).start()
            distributed.destroy_process_group()
        except KeyboardInterrupt:
            return INTERRUPTED
        except RankLost:
            return LEFT
        except Exception as error:
            leave(error, path.parent)
            return 1
    return 0


def leave(error: Exception, folder: Path) -> None:
    """Write `error` into a file of this process in `folder`."""
    rank, kind = os.environ["RANK"], type(error).__name__
    message = str(error) if kind in ERRORS else f"{kind}: {error}"
    facts = {"rank": rank, "kind": kind, "message": message, "traceback": traceback.format_exc()}
    temporary = folder / f"_{rank}"
    temporary.write_text(json.dumps(facts))
    temporary.rename(folder / f"error_{rank}.json")
