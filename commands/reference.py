"""Generate the pages of docs/reference: `python -m debiaslab.commands.reference`.

They tell each command with its words, the named configurations, and the public classes and functions, all from the
code. That of settings is `settings/docs.py`'s.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from debiaslab.commands import EXPLAINED
from debiaslab.commands.words import describe_words
from debiaslab.config import NAMED_CONFIGS
from debiaslab.core.program import CODE

FOLDER = CODE / "docs" / "reference"
GENERATED = "Generated from the code by `python -m debiaslab.commands.reference`"
# module -> what is public in it, and of use to code outside of the project
PUBLIC = {
    "debiaslab": ("load",),
    "debiaslab.prediction.classifier": ("TrainedClassifier",),
    "debiaslab.methods": ("Method", "MethodConfig", "Phase", "Batch", "Task", "SampleNotes", "Recipe", "method_class"),
    "debiaslab.datasets": ("BiasedDataset", "Split", "DatasetConfig", "Source", "dataset_config"),
    "debiaslab.models": ("Architecture", "Encoder", "Classifier", "Networks", "architecture"),
    "debiaslab.core.settings": ("setting",),
    "debiaslab.core.process": ("starting", "set_up_torch"),
    "debiaslab.core.errors": ("UserError", "TrainingDiverged"),
}


def pages() -> dict[str, str]:
    """File name -> text."""
    made: dict[str, Callable[[], Iterator[str]]] = {"commands.md": _commands, "api.md": _api}
    return {name: "\n".join(lines()) + "\n" for name, lines in made.items()}


def _commands() -> Iterator[str]:
    yield "# Commands and named configurations"
    yield from ("", f"{GENERATED}; `COMMAND --help` shows the same. [Commands](../commands.md) is an overview.")
    for command in sorted(EXPLAINED):
        module = import_module(EXPLAINED[command])
        yield from ("", f"## {command}", "", "```text", str(module.__doc__).strip(), "```")
        words = describe_words(module.WORDS) if hasattr(module, "WORDS") else []
        if words:
            yield from ("", "| word | |", "|---|---|")
            yield from (f"| `{name}=` | {_cell(text)} |" for name, text in words)
    yield from ("", "## Named configurations", "", "| name | what it is |", "|---|---|")
    yield from (f"| `{name}` | {_cell(purpose)} |" for name, (purpose, _) in NAMED_CONFIGS.items())


def _api() -> Iterator[str]:
    yield "# API"
    yield from ("", f"{GENERATED}: what code outside of the project may use. [Extending](../extending.md) shows how.")
    for name, public in PUBLIC.items():
        module = import_module(name)
        yield from ("", f"## {name}")
        for member in public:
            yield from _described(member, getattr(module, member), "###")


def _described(name: str, thing: Any, level: str) -> Iterator[str]:
    """Heading, declaration and docstring of a class or function, then of the public methods of a class."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    yield from ("", f"{level} {name}", "", "```python", *_declaration(node), "```")
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
        yield from ("", *_prose(text))
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                yield from ("", f"{level}# {name}.{method.name}", "", "```python", *_declaration(method), "```")
                if text := ast.get_docstring(method):
                    yield from ("", *_prose(text))


def _declaration(node: ast.stmt) -> Iterator[str]:
    """The line that declares a function; that of a class, and its fields."""
    if isinstance(node, ast.FunctionDef):
        names = [ast.unparse(decorator) for decorator in node.decorator_list]
        yield from (f"@{name}" for name in names if name in ("property", "classmethod", "staticmethod"))
        returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
        yield f"def {node.name}({ast.unparse(node.args)}){returns}"
    elif isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        yield f"class {node.name}{f'({bases})' if bases else ''}"
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and not ast.unparse(field.target).startswith("_"):
                yield f"    {ast.unparse(field)}"


def _prose(text: str) -> list[str]:
    return text.replace("<", "&lt;").split("\n")


def _cell(text: str) -> str:
    """Text in a table: without what would end the cell, or be taken for HTML."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def write(folder: Path = FOLDER) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write()
