"""Which version of the code a run is made with."""

import subprocess
from pathlib import Path
from typing import Any

GIT_SECONDS = 10


def code_version(folder: Path) -> dict[str, Any]:
    """{"commit": hash, "changed": whether files differ from it}; both None where `folder` is no git checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "changed": None}
    return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
