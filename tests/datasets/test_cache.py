import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from debiaslab.core.errors import UserError
from debiaslab.datasets.cache import load_or_build

KILLED_BUILD = """
import sys, time, torch
from pathlib import Path
from debiaslab.core import tensor_files
from debiaslab.datasets import cache
save = tensor_files.save_file
def half(tensors, path, metadata):
    save(tensors, path, metadata)
    with open(path, "r+b") as file:
        file.truncate(100)
    print("half written", flush=True)
    time.sleep(60)
tensor_files.save_file = half
cache.load_or_build(Path(sys.argv[1]), "x", "key", lambda: {"a": torch.ones(1000)})
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
    assert len(list(tmp_path.iterdir())) == 1
    load_or_build(tmp_path, "y", "key", lambda: {"a": torch.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["y-key.safetensors"]  # what was left is removed
    tensors = load_or_build(tmp_path, "x", "key", lambda: {"a": torch.full((3,), 2.0)})
    assert tensors["a"].tolist() == [2, 2, 2]


def test_built_once(tmp_path: Path) -> None:
    calls = []

    def build() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"a": torch.arange(3)}

    for _ in range(2):
        assert load_or_build(tmp_path, "x", "key", build)["a"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    load_or_build(tmp_path, "x", "other key", build)
    assert len(calls) == 2


def flip_a_bit(path: Path, position: int) -> None:
    """In the byte at `position`; the time of the last change is what it was, as when a disk fails."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=times)


@pytest.mark.parametrize("position", [-1, -50, 20, 60])
def test_a_flipped_bit_is_told_and_never_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], position: int
) -> None:
    def build() -> dict[str, torch.Tensor]:
        return {"images": torch.arange(100, dtype=torch.uint8)}

    load_or_build(tmp_path, "x", "key", build)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flip_a_bit(path, position)
    assert load_or_build(tmp_path, "x", "key", build)["images"].equal(build()["images"])
    assert re.search(r"x-key\.safetensors .*; rebuilding it\n$", capsys.readouterr().err)
    assert path.read_bytes() == whole
    load_or_build(tmp_path, "x", "key", build)
    assert capsys.readouterr().err == ""


def test_a_file_without_checksum_is_built_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "x-key.safetensors")
    assert load_or_build(tmp_path, "x", "key", lambda: {"a": torch.zeros(3)})["a"].tolist() == [0, 0, 0]
    assert "without a checksum" in capsys.readouterr().err


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=65 * 2**20)

    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(UserError, match=r"cannot write .*x-key.safetensors: it needs 71.0 MiB, and 65.0 MiB are free"):
        load_or_build(tmp_path / "cache", "x", "key", lambda: {"a": torch.zeros(70 * 2**20, dtype=torch.uint8)})
    assert not (tmp_path / "cache").exists()
