"""Determine the version of the code."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacred import Experiment

import debiaslab
from debiaslab.core.program import CODE, IN_CLONE

GIT_SECONDS = 10
NOT_RESULTS = ("analysis/", "commands/", "recording/")  # code that starts and shows runs


def code_version() -> dict[str, Any]:
    """{"version": the package's, "commit": hash, "changed": whether files differ from it}.

    The latter two are None outside of a clone: an environment may be inside the repository of another project.
    """
    commit = {"commit": None, "changed": None} if not IN_CLONE else git_version(CODE)
    return {"version": debiaslab.__version__, **commit}


def git_version(folder: Path) -> dict[str, Any]:
    """{"commit": hash, "changed": whether files differ from it}; both None if `folder` is not a git checkout."""
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


def current_code(ex: Experiment) -> dict[str, str]:
    """Source file -> checksum, for the current files that results depend on."""
    return code_of_results(dict(ex.get_experiment_info()["sources"]))


def code_of_results(checksums: Mapping[str, str]) -> dict[str, str]:
    """The part of `checksums`, by source file, that results depend on."""
    return {name: checksum for name, checksum in checksums.items() if not name.startswith(NOT_RESULTS)}
