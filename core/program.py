"""The program that this process is: where its code is, and how it is called."""

import sys
from pathlib import Path

import debiaslab

CODE = Path(__file__).resolve().parents[1]  # with main.py, methods/, ...: the clone, or the installed package
IN_CLONE = (CODE / "debiaslab").is_dir()  # the folder of links


def source_files() -> list[Path]:
    """The Python files that a run's record keeps: main.py, and those of all packages."""
    here = Path(debiaslab.__path__[0])  # in a clone, links to the packages
    packages = sorted(path.name for path in here.iterdir() if (path / "__init__.py").exists())
    return [CODE / "main.py", *(file for name in packages for file in sorted((CODE / name).rglob("*.py")))]


def program_name() -> str:
    """What a user types before the words of a command."""
    return "python main.py" if IN_CLONE else "debiaslab"


def program_command() -> list[str]:
    """What starts the program in a new process, before the words of its command.

    Installed, it must not be started by the path of main.py: Python would put that folder first on `sys.path`, and its
    `datasets` would be taken for Hugging Face's.
    """
    return [sys.executable, str(CODE / "main.py")] if IN_CLONE else [sys.executable, "-P", "-m", "debiaslab"]
