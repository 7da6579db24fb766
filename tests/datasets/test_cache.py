import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from debiaslab.datasets.cache import cached

KILLED_BUILD = """
import sys, time, torch
from pathlib import Path
from debiaslab.datasets import cache
save = cache.save_file
def half(tensors, path):
    save(tensors, path)
    with open(path, "r+b") as file:
        file.truncate(100)
    print("half written", flush=True)
    time.sleep(60)
cache.save_file = half
cache.cached(Path(sys.argv[1]), "x", "key", lambda: {"a": torch.ones(1000)})
"""


def test_a_killed_build_is_not_taken_for_complete(tmp_path: Path) -> None:
    builder = subprocess.Popen(
        [sys.executable, "-c", KILLED_BUILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert builder.stdout is not None
    assert builder.stdout.readline() == "half written\n"
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert not list(tmp_path.glob("x-*"))
    tensors = cached(tmp_path, "x", "key", lambda: {"a": torch.full((3,), 2.0)})
    assert tensors["a"].tolist() == [2, 2, 2]


def test_built_once(tmp_path: Path) -> None:
    calls = []

    def build() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"a": torch.arange(3)}

    for _ in range(2):
        assert cached(tmp_path, "x", "key", build)["a"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    cached(tmp_path, "x", "other key", build)
    assert len(calls) == 2
