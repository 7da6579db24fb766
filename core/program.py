"""Where the program's code is, and the command that starts it."""

import sys
from pathlib import Path

import debiaslab

CODE = Path(__file__).resolve().parents[1]  # with main.py, methods/, ...: the clone, or the installed package
IN_CLONE = (CODE / "debiaslab").is_dir()  # the folder of symlinks
PROCESS = "rank"  # the first word of one of the processes of a run (`commands/rank.py`), for no user
SERVE = "serve-runs"  # the first word of a process that forks runs (`recording/fork_server.py`), for no user


def source_files() -> list[Path]:
    """The Python files to store in a run's record: main.py, and those of all packages."""
    here = Path(debiaslab.__path__[0])  # in a clone, symlinks to the packages
    packages = sorted(path.name for path in here.iterdir() if (path / "__init__.py").exists())
    return [CODE / "main.py", *(file for name in packages for file in sorted((CODE / name).rglob("*.py")))]


def program_name() -> str:
    """How a user calls the program: "python main.py" or "debiaslab"."""
    return "python main.py" if IN_CLONE else "debiaslab"


def program_command() -> list[str]:
    """The command line that starts the program in a new process, to be followed by its arguments.

    When installed, it must not be started by the path of main.py: Python would put that folder first on `sys.path`,
    and its `datasets` would shadow Hugging Face's.
    """
    return [sys.executable, str(CODE / "main.py")] if IN_CLONE else [sys.executable, "-P", "-m", "debiaslab"]
