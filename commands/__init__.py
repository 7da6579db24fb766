"""The commands of `main.py` that query recorded runs or start several runs.

Each is a module with `run(updates)`, which returns the exit code if it can be nonzero, and `WORDS`, the dataclass that
declares its options. Those that are a single Sacred run (`train.py`, `evaluate.py`, `inspect.py`) are commands of the
experiment, which `runs.py` checks and prepares before recording starts.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

# command -> its module, which is imported on demand: starting a run needs none of them
COMMANDS = {
    "audit": "debiaslab.commands.audit",
    "compare": "debiaslab.commands.compare",
    "completion": "debiaslab.commands.completion",
    "export": "debiaslab.commands.export",
    "export_model": "debiaslab.commands.export_model",
    "finetune": "debiaslab.commands.finetune",
    "job": "debiaslab.commands.job",
    "plots": "debiaslab.commands.plots",
    "predict": "debiaslab.commands.predict",
    "report": "debiaslab.commands.report",
    "rerun": "debiaslab.commands.rerun",
    "resume": "debiaslab.commands.resume",
    "retrain": "debiaslab.commands.retrain",
    "results": "debiaslab.commands.results",
    "search": "debiaslab.commands.search",
    "seeds": "debiaslab.commands.seeds",
    "study": "debiaslab.commands.study",
    "sync": "debiaslab.commands.sync",
    "together": "debiaslab.commands.together",
}

# including commands of the experiment, for --help
EXPLAINED = COMMANDS | {name: f"debiaslab.commands.{name}" for name in ("evaluate", "inspect", "train")}

# commands with runs as arguments
OF_RUNS = ("compare", "evaluate", "export_model", "finetune", "predict", "rerun", "resume", "retrain")
# options with a value
TAKE_VALUE = (
    *("-m", "--mongo_db", "-F", "--file_storage", "-o", "--out", "-i", "--id", "-n", "--name", "-c", "--comment"),
    *("-b", "--beat-interval", "-C", "--capture", "-l", "--loglevel", "-P", "--priority"),
    *("-s", "--sql", "-S", "--s3", "-t", "--tiny_db"),
)


def for_parser(arguments: Sequence[str]) -> list[str]:
    """Rewrite the command line for the parser.

    `compare RUN RUN` as `compare with id=RUN,RUN` (`evaluate` reads a Python literal), a run with `seeds=` as `seeds
    with ... seeds=`, and `COMMAND --help` as `help COMMAND`.
    """
    end = arguments.index("with") if "with" in arguments else len(arguments)
    words = [
        position
        for position in range(end)
        if not arguments[position].startswith("-") and arguments[max(position - 1, 0)] not in TAKE_VALUE
    ]
    commands = [arguments[position] for position in words]
    if commands and {"-h", "--help"} & {*arguments[:end]}:
        return ["help", commands[0]]
    if commands in ([], ["train"]) and any(argument.startswith("seeds=") for argument in arguments[end:]):
        options = [argument for position, argument in enumerate(arguments[:end]) if position not in words]
        return [*options, "seeds", *arguments[end:]]
    if len(words) < 2 or commands[0] not in OF_RUNS:
        return list(arguments)
    kept = [argument for position, argument in enumerate(arguments[:end]) if position not in words[1:]]
    runs = ",".join(commands[1:])
    return [*kept, "with", f"id={runs if commands[0] in COMMANDS else repr(runs)}", *arguments[end + 1 :]]


def run_command(command: str, updates: Sequence[str]) -> int:
    """Execute one of `COMMANDS` with the words after `with`; returns its exit code. Raises `UserError`."""
    run = cast(Callable[[Sequence[str]], int | None], import_module(COMMANDS[command]).run)
    return run(updates) or 0


def general_help() -> str:
    """The output of `--help` without a command."""
    from debiaslab.commands.overview import overview

    return overview(EXPLAINED)


def command_help(command: str) -> str:
    """The output of `COMMAND --help`: a description, a line for each of its options, and what `more_help` adds."""
    from debiaslab.commands.words import describe_words

    module = import_module(EXPLAINED[command])
    words = describe_words(module.WORDS) if hasattr(module, "WORDS") else []
    width = max((len(name) for name, _ in words), default=0) + 1
    lines = [f"  {name + '=':{width}}  {text}" for name, text in words]
    more = ["", *module.more_help()] if hasattr(module, "more_help") else []
    return "\n".join([str(module.__doc__).replace("`", ""), *(["Words after with:", *lines] if lines else []), *more])
