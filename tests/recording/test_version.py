import subprocess
from pathlib import Path

from debiaslab.recording.version import git_version


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_and_changes(tmp_path: Path) -> None:
    assert git_version(tmp_path) == {"commit": None, "changed": None}
    git(tmp_path, "init", "-q")
    (tmp_path / "main.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert git_version(tmp_path) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "changed": False}
    (tmp_path / "data").mkdir()  # untracked files are no change of the code
    (tmp_path / "data" / "file").write_text("2")
    assert git_version(tmp_path)["changed"] is False
    (tmp_path / "main.py").write_text("3")
    assert git_version(tmp_path)["changed"] is True
