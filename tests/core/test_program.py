"""How the program is called, in a clone and where it is installed, and what its extras are."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import debiaslab
from debiaslab.core import extras, program
from debiaslab.core.extras import EXTRAS, missing_extra
from debiaslab.core.program import CODE, program_command, program_name, source_files

ROOT = Path(__file__).parents[2]
# packages whose distribution, or the one that brings it along, has another name
PARTS = {
    "bson": "pymongo",
    "docopt": "sacred",
    "gridfs": "pymongo",
    "imagenet_w": "imagenet-w",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_in_a_clone_it_is_main(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (program_name(), program_command()) == ("python main.py", [sys.executable, str(ROOT / "main.py")])
    monkeypatch.setattr(program, "IN_CLONE", False)
    assert (program_name(), program_command()) == ("debiaslab", [sys.executable, "-P", "-m", "debiaslab"])


@pytest.mark.processes
def test_a_system_without_file_locks_is_not_served(tmp_path: Path) -> None:
    """As Windows: no module fcntl. One line, before anything is imported or written."""
    script = (
        "import runpy, sys; sys.modules['fcntl'] = None; sys.argv = ['main.py', 'with', 'digits', 'smoke'];"
        f" runpy.run_path({str(ROOT / 'main.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: this system has no POSIX file locks; use Linux or macOS, on Windows inside WSL 2\n"
    assert list(tmp_path.iterdir()) == []


def test_the_recorded_sources_are_those_of_all_packages() -> None:
    names = [str(file.relative_to(CODE)) for file in source_files()]
    assert len(names) == len(set(names))
    assert {"main.py", "core/program.py", "methods/lff.py", "training/loop.py", "analysis/plots/curves.py"} < {*names}
    assert not [name for name in names if name.startswith(("debiaslab", "tests", "benchmarks"))]


def test_what_is_told_of_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ModuleNotFoundError("No module named 'optuna.samplers'", name="optuna.samplers")
    assert missing_extra(error) == 'optuna is not installed: pip install ".[search]"'
    monkeypatch.setattr(extras, "IN_CLONE", False)
    assert missing_extra(error) == 'optuna is not installed: pip install "debiaslab[search]"'
    assert missing_extra(ModuleNotFoundError("No module named 'torchh'", name="torchh")) is None


def test_the_extras_are_those_of_the_project() -> None:
    optional = {name: [*map(Requirement, lines)] for name, lines in PROJECT["optional-dependencies"].items()}
    (everything,) = optional.pop("all")
    assert everything.extras == set(optional)
    for package, extra in EXTRAS.items():
        assert PARTS.get(package, package.lower()) in {requirement.name for requirement in optional[extra]}


def test_whatever_is_imported_is_required_or_an_extra() -> None:
    required = {requirement.name for requirement in map(Requirement, PROJECT["dependencies"])}
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for package in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"debiaslab"}:
                assert package in EXTRAS or PARTS.get(package, package) in required, (file, package)


def test_requirements_txt_pins_versions_that_the_project_allows() -> None:
    lines = (line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    pinned = dict(lines)
    optional = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *optional]):
        if requirement.name != "debiaslab":
            assert pinned[requirement.name] in requirement.specifier, requirement


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == debiaslab.__version__
    released = re.search(r"^## \[(\d.*)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released is not None
    assert released.groups() == (debiaslab.__version__, citation["date-released"])
