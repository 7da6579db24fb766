"""Facts about the repository itself."""

import re
import subprocess
import sys
from pathlib import Path

from debiaslab.config import ex
from debiaslab.datasets import DATASETS
from debiaslab.methods import METHODS

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "analysis",
    "core",
    "datasets",
    "evaluation",
    "lockstep",
    "methods",
    "models",
    "prediction",
    "released",
    "settings",
    "training",
    "benchmarks",
)


def test_the_core_imports_no_sacred() -> None:
    """Methods, models, data sets and training run where Sacred is not installed; only the ingredients know it.

    Nor is PyAV needed before a video is read.
    """
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            if file != ROOT / "settings" / "ingredients.py":
                assert not re.search(r"^\s*(from|import) (sacred|recording)\b", file.read_text(), re.M), file
    modules = "settings.setup, settings.recipes, models, datasets, analysis.plots"
    imports = ", ".join(f"debiaslab.{name}" for name in modules.split(", "))
    code = f"import sys, {imports}; assert not {{'sacred', 'av'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_named_configurations_scripts_and_methods_are_documented() -> None:
    pages = {
        name: (ROOT / "docs" / f"{name}.md").read_text()
        for name in ("commands", "reproducing", "architecture", "methods", "datasets")
    }
    for name in ex.named_configs:
        assert f"`{name}`" in pages["commands"], name
    for script in (ROOT / "scripts").glob("*.sh"):
        assert script.name in pages["reproducing"] + pages["architecture"], script
    for page, names in (("methods", list(METHODS)), ("datasets", list(DATASETS))):
        assert [name for name in names if f"`{name}`" not in pages[page]] == []


def test_the_readme_is_short_and_lists_every_method() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    assert [name for name in METHODS if f"`{name}`" not in readme] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f"- {page}\n" not in navigation] == []


def test_links_between_pages_lead_somewhere() -> None:
    """To files, and to headings in pages."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
            if re.match(r"\w+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor and file.suffix == ".md":
                headings = re.findall(r"^#+ (.*)", file.read_text(), re.M)
                slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert anchor in slugs, f"{page.name}: {target}"


def test_requirements_are_pinned() -> None:
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text().splitlines():
            assert not line or line.startswith(("#", "-r ")) or re.fullmatch(r"[a-z0-9_.-]+==[0-9a-z.]+", line), line


def test_the_package_of_a_clone_is_links_to_the_top_level() -> None:
    """An editor that replaces a link by a copy makes two versions of a module."""
    for path in (ROOT / "debiaslab").iterdir():
        if path.name not in ("__init__.py", "__main__.py", "__pycache__"):
            assert path.is_symlink(), path
            assert path.resolve() == ROOT / path.name
