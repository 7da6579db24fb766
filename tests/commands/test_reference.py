"""The pages that are generated from the code."""

from debiaslab.commands import EXPLAINED
from debiaslab.commands.reference import FOLDER, pages
from debiaslab.config import NAMED_CONFIGS


def test_the_pages_are_what_the_code_says() -> None:
    """`python -m debiaslab.commands.reference` writes them."""
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == pages()


def test_every_command_and_named_configuration_is_there() -> None:
    page = pages()["commands.md"].splitlines()
    assert [name for name in EXPLAINED if f"## {name}" not in page] == []
    assert [name for name in NAMED_CONFIGS if not any(line.startswith(f"| `{name}` |") for line in page)] == []
    assert any(line.startswith("| `jobs=` | parallel runs; default: one per GPU; ") for line in page)


def test_a_function_has_its_declaration_and_what_it_says() -> None:
    page = pages()["api.md"]
    assert "def load(run: 'str | PathLike[str]', rule: str | None=None, log_dir: str='runs')" in page
    assert "\nThe classifier that a recorded run has trained" in page
    assert "#### Method.phases" in page
