import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from debiaslab.core.errors import UserError
from debiaslab.core.files import atomic_write, require_writable


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
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_text() == "old"


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


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here")
    try:
        path = tmp_path / "file"
        path.write_text("old")
        with (
            pytest.raises(UserError, match=r"cannot write .*file: No space left on device"),
            atomic_write(path) as part,
        ):
            part.write_bytes(bytes(2**21))
        assert path.read_text() == "old"
    finally:
        time.sleep(0.1)
        subprocess.run(["umount", tmp_path], check=True)
