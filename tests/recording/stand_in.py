"""A program that stands in for main.py: its first word says what it does, and it imports next to nothing."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from debiaslab.core.program import SERVE
from debiaslab.recording.fork_server import wait_for_run

words = sys.argv[1:]
if words[0] == SERVE:
    words = wait_for_run(int(words[1]))
what, *rest = words
if what == "tell":
    print("to the error stream", file=sys.stderr)
    facts = {"arguments": sys.argv[1:], "session": os.getsid(0) == os.getpid(), "folder": os.getcwd()}
    facts |= {"threads": os.environ.get("OMP_NUM_THREADS"), "mark": os.environ.get("MARK"), "input": sys.stdin.read()}
    facts |= {"terminal": sys.stdout.isatty(), "parent": os.getppid(), "mask": os.umask(0)}
    facts["id"] = [word for word in Path("/proc/self/cmdline").read_text().replace("\0", " ").split() if "--id" in word]
    facts["gpu"] = os.environ.get("CUDA_VISIBLE_DEVICES")
    facts["ignored"] = [name.name for name in signal.valid_signals() if signal.getsignal(name) is signal.SIG_IGN]
    print(json.dumps(facts))
elif what == "exit":
    sys.exit(int(rest[0]))
elif what == "wait":  # until there is a file, then say that it was seen
    Path(rest[0]).touch()
    if "ending" in rest:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    Path(f"{rest[0]}.ready").touch()
    while not Path(rest[1]).exists():
        time.sleep(0.01)
    print("seen")
