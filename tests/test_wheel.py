"""The installed package: built as a wheel, beside no more than its core requirements, away from the clone."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

import debiaslab

pytestmark = [pytest.mark.processes, pytest.mark.long]

ROOT = Path(__file__).parents[1]
NOT_CORE = ("cv2", "IPython", "incense", "optuna", "pymongo", "tensorboardX", "av", "onnx")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DEBIAS_MONGO_URL")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # hatchling is among requirements-dev.txt: nothing is downloaded
    words = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT)
    built = run(sys.executable, "-m", *words, cwd=folder)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def requirements(lines: list[str]) -> Iterator[str]:
    """Names of the distributions that `lines` of metadata require without any extra, on this machine."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield re.sub(r"[-_.]+", "-", requirement.name).lower()


def core_distributions(wheel: Path) -> set[str]:
    """All that the wheel requires, and what these require in turn, of what is installed here."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    waiting = list(requirements(re.findall(r"^Requires-Dist: (.*)$", metadata, re.M)))
    assert "torch" in waiting
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            waiting += requirements(distribution(name).requires or [])
        except PackageNotFoundError:  # a CPU's torch may leave out what that of a GPU requires
            continue
        found.add(name)
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, and links to the files of its core requirements."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip())
    for name in core_distributions(wheel):
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(name).locate_file(top))).resolve())
    words = ("pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    installed = run(sys.executable, "-m", *words, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    missing = f"from importlib.util import find_spec; print([name for name in {NOT_CORE} if find_spec(name)])"
    assert run(python, "-c", missing, cwd=folder).stdout == "[]\n"
    return python


def test_data_files_travel_with_the_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    kept = [
        path.relative_to(ROOT)
        for package in (ROOT / "debiaslab").iterdir()
        if package.is_symlink() and package.is_dir()
        for path in (ROOT / package.name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert len(kept) > 150
    assert {f"debiaslab/{path}" for path in kept} <= names
    assert {"debiaslab/main.py", "debiaslab/config.py", "debiaslab/__main__.py"} <= names
    assert not [name for name in names if not name.startswith(("debiaslab/", f"debiaslab-{debiaslab.__version__}."))]


def test_it_trains_from_any_folder_and_starts_further_runs(python: Path, tmp_path: Path) -> None:
    """Two seeds, each in a process of its own."""
    (tmp_path / "datasets.py").write_text("raise SystemExit('a file of the user has been taken for ours')")
    words = ("with", "digits", "smoke", "method=erm", "seeds=2", "jobs=1")
    done = run(python.with_name("debiaslab"), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = [file.parent for file in tmp_path.glob("runs/*/run.json")]
    assert len(folders) == 2
    for folder in folders:
        assert {"curves.png", "samples.png", "last.safetensors"} <= {file.name for file in folder.iterdir()}
        info = (folder / "info.json").read_text()
        assert f'"version": "{debiaslab.__version__}"' in info
        assert '"commit": null' in info
    results = run(python.with_name("debiaslab"), "results", cwd=tmp_path)
    assert "erm" in results.stdout, results.stderr


def test_it_is_imported_under_one_name_only(python: Path, tmp_path: Path) -> None:
    code = """if True:
        from importlib.util import find_spec
        from debiaslab.methods import METHODS
        from debiaslab.core.program import program_command, program_name
        print(len(METHODS) > 5, find_spec("datasets"), find_spec("methods"), program_name(), *program_command()[1:])"""
    done = run(python, "-c", code, cwd=tmp_path)
    assert done.stdout == "True None None debiaslab -P -m debiaslab\n", done.stderr


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["search", "with", "digits", "method=lff", "method.hparams.q=0.5:0.9"], 'pip install "debiaslab[search]"'),
        (["-m", "localhost:27017:x", "with", "digits", "smoke"], 'pip install "debiaslab[mongo]"'),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command(
    python: Path, tmp_path: Path, words: list[str], missing: str
) -> None:
    done = run(python.with_name("debiaslab"), *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: \w+ is not installed: .*\n", done.stderr)
    assert missing in done.stderr
    assert not list(tmp_path.glob("runs/*/run.json"))
