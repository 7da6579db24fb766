import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.core.files import (
    as_on_disk,
    atomic_write,
    expand,
    hold_lock,
    remove_leftovers,
    require_regular,
    require_writable,
)
from debiaslab.core.tensor_files import write_tensors


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with atomic_write(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with contextlib.suppress(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("second")
        raise RuntimeError
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import sys, time; from pathlib import Path; from debiaslab.core.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); print('writing', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    remove_leftovers(tmp_path, "file")
    assert len(os.listdir(tmp_path)) == 2  # the writer is alive
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        assert sorted(os.listdir(tmp_path)) == sorted(["file", temporary.name])


def test_a_file_that_a_library_replaces_is_not_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush(handle: int) -> None:
        """At this time, another writer begins."""
        remove_leftovers(tmp_path, "file")

    monkeypatch.setattr(os, "fsync", flush)
    with atomic_write(tmp_path / "file") as temporary:
        (tmp_path / "other").write_text("new")
        os.replace(tmp_path / "other", temporary)
    assert (tmp_path / "file").read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_errors_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/below"), atomic_write(tmp_path / "file" / "below"):
        pass
    with pytest.raises(UserError, match=r"cannot write into .*file/below.*choose another with log_dir=DIR"):
        require_writable(tmp_path / "file" / "below", "log_dir")
    with pytest.raises(UserError, match=r"cannot write into .*file: it is a file, not a folder; choose another with"):
        require_writable(tmp_path / "file", "log_dir")
    with pytest.raises(UserError, match=r"only \d+ MiB free in .* MiB needed"):
        require_writable(tmp_path, "log_dir", needed_bytes=2**60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here; root can")
    yield tmp_path
    time.sleep(0.1)
    subprocess.run(["umount", tmp_path], check=True)


def test_full_disk(small_disk: Path) -> None:
    path = small_disk / "file"
    path.write_text("old")
    with pytest.raises(UserError, match=r"cannot write .*file: No space left on device"), atomic_write(path) as part:
        part.write_bytes(bytes(2**21))
    assert path.read_text() == "old"
    assert os.listdir(small_disk) == ["file"]


def test_a_disk_that_fills_up_while_tensors_are_written(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_disk / "x.safetensors"
    with pytest.raises(UserError, match=r"cannot write .*x\.safetensors: it needs 3\.0 MiB, and 1\.0 MiB are free"):
        write_tensors(path, {"a": torch.zeros(2**19)}, {})
    monkeypatch.setattr("debiaslab.core.files._require_space", lambda path, size: None)
    with pytest.raises(UserError, match=r"cannot write .*x\.safetensors: .*No space left on device"):
        write_tensors(path, {"a": torch.zeros(2**19)}, {})
    assert os.listdir(small_disk) == []


def test_one_at_a_time(tmp_path: Path) -> None:
    """Threads open the lock anew, and so exclude each other as processes do."""
    inside: list[int] = []
    together: list[int] = []

    def work(number: int) -> None:
        with hold_lock(tmp_path / "lock"):
            inside.append(number)
            time.sleep(0.01)
            together.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1] * 8
    assert os.listdir(tmp_path) == []


def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match=f"{path} is a pipe, a socket or a device; give a file"):
            require_regular(path)
    (tmp_path / "file").touch()
    assert require_regular(tmp_path / "file").st_size == 0


def test_paths_are_expanded_as_by_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "here")
    monkeypatch.chdir(tmp_path)
    assert expand("~/data", "data.root") == f"{tmp_path}/data"
    assert expand("/a/$PLACE/${PLACE}b", "data.root") == "/a/here/hereb"
    (tmp_path / "~").mkdir()
    (tmp_path / "$nothing").touch()
    assert [expand(name, "data.root") for name in ("~", "$nothing", "", "a")] == ["~", "$nothing", "", "a"]
    for text in ("~nobody-of-this-name/x", "/a/$nothing/b"):
        with pytest.raises(UserError, match="there is no such user or environment variable; write the full path"):
            expand(text, "data.root")
    for text in ("a/" + 256 * "x", "a\0b"):
        with pytest.raises(UserError, match=r"^log_dir=.*: no part of it may have over 255 bytes, or a zero byte$"):
            expand(text, "log_dir")


def test_names_are_those_on_the_disk(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "tête") for form in ("NFC", "NFD"))
    (tmp_path / decomposed / "a").mkdir(parents=True)
    assert expand(f"{tmp_path}/{composed}/a/new", "data.root") == f"{tmp_path}/{decomposed}/a/new"
    (tmp_path / composed).mkdir()
    assert as_on_disk(tmp_path / composed / "b") == tmp_path / composed / "b"
