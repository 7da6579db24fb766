"""The output of `python main.py --help`: the commands with what they do, then settings, then options."""

import ast
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from debiaslab.core.program import program_name

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Train": ("train", "seeds", "study", "search"),
    "Look at results": ("results", "compare", "plots", "report", "export"),
    "Use a run": ("evaluate", "predict", "export_model", "finetune", "retrain", "resume", "rerun"),
    "Look at data": ("inspect", "audit"),
    "Records": ("sync",),
    "Shell": ("completion",),
}
INTERNAL = ("job", "together")  # started by others
SETTINGS = {
    "print_named_configs": "named configurations, such as colored_mnist, severity4, skewed1",
    "print_config with WORDS": "all settings of a run, and where they come from",
    "COMMAND --help": "the words of a command, with examples",
}
OPTIONS = {
    "-m HOST:PORT:DB": "also record in MongoDB, or read from it; or set DEBIAS_MONGO_URL",
    "-F, --file_storage DIR": "the folder of the records, as log_dir=DIR",
    "-o, --out DIR": "what a command writes into, as out=DIR",
    "-i, --id NAME": "id of the run",
    "-c, --comment TEXT": "a comment in its record",
    "-p, --print-config": "print all settings first",
    "-d, --debug; -D, --pdb": "Sacred's debug mode; a debugger after an error",
    "-b, --beat-interval S": "seconds between heartbeats in the record",
}


def overview(modules: Mapping[str, str]) -> str:
    """The text; `modules`: command -> its module."""
    program = program_name()
    parts = [
        "Debiasing of image classifiers.",
        f"Usage: {program} [OPTIONS] [COMMAND] [with WORDS]",
        f"To begin: {program} with digits method=lff",
    ]
    for title, names in GROUPS.items():
        parts.append(
            f"{title}\n"
            + "\n".join(
                f"  {usage}\n      {what}" for usage, what in (_usage(modules[name], program) for name in names)
            )
        )
    width = max(map(len, (*SETTINGS, *OPTIONS)))
    for title, rows in {"Settings": SETTINGS, "Options": OPTIONS}.items():
        parts.append(f"{title}\n" + "\n".join(f"  {name:{width}}  {text}" for name, text in rows.items()))
    return "\n\n".join(parts)


def _usage(module: str, program: str) -> tuple[str, str]:
    """The command line and the description in the first sentence of a command's docstring.

    The module is not imported: some need seconds, or an extra that may be missing.
    """
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    first = docstring.partition("\n\n")[0].replace("\n", " ")
    usage, _, what = first.partition("`: ")
    return usage.strip("`").removeprefix(f"{program} "), what.rstrip(".")
