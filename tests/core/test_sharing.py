"""Folders that several users write into."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from debiaslab.core.files import atomic_write, require_writable
from debiaslab.core.sharing import make_shared_folder


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


@pytest.mark.parametrize(
    ("permissions", "folders", "file"),
    [(0o2770, "drwxrwsr-x", "-rw-rw-r--"), (0o2777, "drwxrwsrwx", "-rw-rw-rw-"), (0o777, "drwxrwxrwx", "-rw-rw-rw-")],
)
def test_what_is_made_in_a_shared_folder_is_shared(tmp_path: Path, permissions: int, folders: str, file: str) -> None:
    tmp_path.chmod(permissions)
    require_writable(tmp_path / "runs", "log_dir")
    make_shared_folder(tmp_path / "runs" / "a" / "b")
    with atomic_write(tmp_path / "runs" / "a" / "file") as temporary:
        temporary.write_text("content")
    assert {mode(tmp_path / name) for name in ("runs", "runs/a", "runs/a/b")} == {folders}
    assert mode(tmp_path / "runs" / "a" / "file") == file


@pytest.mark.parametrize("permissions", [0o755, 0o1777, 0o775])
def test_elsewhere_the_umask_decides(tmp_path: Path, permissions: int) -> None:
    tmp_path.chmod(permissions)
    with atomic_write(tmp_path / "folder" / "file") as temporary:
        temporary.write_text("content")
    assert (mode(tmp_path / "folder"), mode(tmp_path / "folder" / "file")) == ("drwxr-xr-x", "-rw-r--r--")
