"""The command line: Sacred's, with short names for settings, one-line errors, and no password in any record."""

import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from docopt import DocoptExit, docopt
from sacred import Experiment
from sacred.arg_parser import get_config_updates
from sacred.commandline_options import cli_option
from sacred.utils import recursive_update

from debiaslab.core.console import printable
from debiaslab.core.errors import TrainingDiverged, UserError, require_known
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.randomness import SEEDS, SEEDS_IN_WORDS
from debiaslab.core.settings import flattened

PROGRAM = "main.py"

# short for what is typed often; the settings on the right are the ones that are recorded
SHORT_SETTINGS: dict[str, str] = {
    "method": "method.name",
    "model": "model.name",
    "data": "data.name",
    "epochs": "method.hparams.epochs",
    "num_steps": "method.hparams.num_steps",
}

# Sacred's options that are not supported, and why
RECORDS = "records go to files and, with -m, to MongoDB"
QUEUE = "a run starts at once; several one after the other are a study"
REFUSED_OPTIONS = {
    "--sql": RECORDS,
    "--tiny_db": RECORDS,
    "--s3": RECORDS,
    "--queue": QUEUE,
    "--priority": QUEUE,
    "--enforce_clean": "every record says which code has run, and whether it was changed",
    "--capture": "what is printed is recorded, however it is printed",
    "--loglevel": "there is no log but what is printed",
}
SECONDS = r"\d+|\d*\.\d+"
COLOR = r"\x1b\[[0-9;]*m"
RUN_ID = r"[\w-][\w.-]*"


class ReadyRun(Protocol):
    """A run that has passed all checks."""

    def start(self) -> object: ...


# carries out a command that is no run of the experiment, given its name and the words after `with`; the exit code
Answer = Callable[[str, list[str]], int]


@cli_option("-o", "--out")
def out_option(value: str, run: Any) -> None:
    """The folder that a command writes into, such as report and export: the same as out=VALUE."""


def run_command_line(
    ex: Experiment,
    arguments: list[str],
    prepare: Callable[..., ReadyRun],
    after_interruption: Callable[[str | None, list[str]], str],
    commands: Collection[str] = (),
    answer: Answer | None = None,
) -> int:
    """Run `arguments` (as of `sys.argv[1:]`) and return the exit code.

    0: done; 1: training failed; 2: a user's mistake, told in one line; 130: interrupted, then `after_interruption`,
    given command and updates, says how to go on; 141: whoever read what is printed has left, as `head` does.
    `prepare` checks a run of the experiment and returns it ready to start. `commands` are no run of the experiment:
    `answer` carries them out. Any other error is a fault of this project and leaves its traceback.
    """
    try:
        code = _carried_out(ex, arguments, prepare, after_interruption, commands, answer)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        return 141
    return code


def _reader_has_left() -> bool:
    """Whether nobody reads standard output any more; if so, what is still to be written to it goes nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _carried_out(
    ex: Experiment,
    arguments: list[str],
    prepare: Callable[..., ReadyRun],
    after_interruption: Callable[[str | None, list[str]], str],
    commands: Collection[str],
    answer: Answer | None,
) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    options: dict[str, Any] = {}
    updates: list[str] = []
    try:
        known = [*(name for name, _ in ex.gather_commands()), *commands]
        options = parsed(ex, arguments, known)
        command = options["COMMAND"] or str(ex.default_command)
        if command in ex.named_configs or "=" in command:
            raise UserError(f"{command!r} is no command: settings come after with, as in python main.py with {command}")
        if command == "with":
            raise UserError(
                "nothing comes after with: leave it out, or write settings, as in python main.py with digits"
            )
        require_known("command", command, known)
        if options.get("help") or options.get("--help"):
            ex.run_commandline([PROGRAM, *arguments] if command not in commands else [PROGRAM, "--help"])
            return 0
        updates = [*options["UPDATE"], *taken_options(options)]
        if answer is not None and command in commands:
            require_no_option(options, command)
            return answer(command, updates)
        settings, named_configs = read_updates(ex, updates)
        with plain_text() if command.startswith("print_") else nullcontext():
            prepare(command, settings, named_configs, options=options).start()
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"training stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:  # a command may have said itself how to go on
        print(str(interruption) or after_interruption(options.get("COMMAND"), updates), file=sys.stderr)
        return 130
    return 0


@contextmanager
def plain_text() -> Iterator[None]:
    """Within the block, for Sacred's commands that print in colours: these go to a terminal only."""
    if sys.stdout.isatty():
        yield
        return
    with redirect_stdout(StringIO()) as printed:
        yield
    sys.stdout.write(re.sub(COLOR, "", printed.getvalue()))


def parsed(ex: Experiment, arguments: list[str], commands: Collection[str]) -> dict[str, Any]:
    """The options, command and updates by their names. Raises `UserError` for a line that cannot be read."""
    try:
        with redirect_stdout(StringIO()):  # what the parser says of its own names for things
            found: dict[str, Any] = docopt(ex.get_usage(PROGRAM)[2], arguments, default_help=False)
    except DocoptExit:
        line = shlex.join(arguments)
        meant = with_inserted(arguments, commands, ex.named_configs)
        if meant:
            way = f"python main.py {shlex.join(meant)}"
            raise UserError(f"cannot read {line!r}: settings come after with, as in {way}") from None
        raise UserError(
            f"cannot read {line!r}: it must be [OPTIONS] [COMMAND] [with SETTINGS];"
            " python main.py --help shows the options and commands"
        ) from None
    return found


def with_inserted(arguments: list[str], commands: Collection[str], named_configs: Collection[str]) -> list[str] | None:
    """The line with a `with` behind its command, or before its first setting; None if it lacks something else."""
    if "with" in arguments:
        return None
    for place, (word, following) in enumerate(zip(arguments, [*arguments[1:], "-"], strict=True)):
        if word in commands and not following.startswith("-"):
            return [*arguments[: place + 1], "with", *arguments[place + 1 :]]
        if not word.startswith("-") and (word in named_configs or "=" in word):
            return [*arguments[:place], "with", *arguments[place:]]
    return None


def require_no_option(options: Mapping[str, Any], command: str) -> None:
    """Raise `UserError` for an option that says how a run is recorded, with a command that is no run."""
    for name, value in options.items():
        if name.startswith("--") and value:
            raise UserError(f"{name} has no effect with {command}: leave it out")


def taken_options(options: dict[str, Any]) -> list[str]:
    """Take out of `options` what Sacred would do in its own way, and return the settings that stand for it.

    The address of -m goes into the environment: Sacred would record it, password and all. -F DIR is log_dir=DIR, --out
    DIR is out=DIR.
    Raises `UserError` for an option that is not supported.
    """
    for name, reason in REFUSED_OPTIONS.items():
        if options.get(name):
            raise UserError(f"{name} is not supported: {reason}")
    interval = options["--beat-interval"]
    if interval and not re.fullmatch(SECONDS, interval):
        raise UserError(f"--beat-interval={interval}: must be seconds, such as 10 or 0.5")
    if options["--id"] and not re.fullmatch(RUN_ID, options["--id"]):
        raise UserError(f"--id={options['--id']}: must be letters, digits, and -, _ or . after the first")
    address, folder = options["--mongo_db"], options["--file_storage"]
    out = options["--out"]
    if out and "=" in out:
        raise UserError(
            f"-o {out}: must be the name of a folder, without =; write -o DIR, --out=DIR or, after with, out=DIR"
        )
    options["--mongo_db"] = options["--file_storage"] = options["--out"] = None
    if address:
        os.environ[MONGO_URL] = address
    return [*([f"log_dir={folder}"] if folder else []), *([f"out={out}"] if out else [])]


def read_updates(ex: Experiment, updates: list[str]) -> tuple[dict[str, Any], list[str]]:
    """(settings, named configurations) of the words after `with`: settings, named configurations, JSON files.

    Raises `UserError` for an unknown configuration, two that contradict each other, a file that cannot be read, or a
    setting that Sacred could not.
    """
    written: list[str] = []
    from_files: dict[str, Any] = {}
    for update in updates:
        name, separator, value = update.partition("=")
        if separator:
            written.append(f"{SHORT_SETTINGS.get(name, name)}={value}")
        elif name.endswith(".json"):
            recursive_update(from_files, read_settings(Path(name)))
        else:
            require_known("named configuration", name, ex.named_configs)
            written.append(name)
    settings, named_configs = get_config_updates(written)
    require_agreement({name: ex.named_configs[name]() for name in named_configs})
    merged = recursive_update(from_files, settings)
    require_well_formed(merged)
    return merged, named_configs


def require_well_formed(settings: Mapping[str, Any]) -> None:
    """Raise `UserError` for settings that Sacred stumbles over before they are checked."""
    for name, value in flattened(settings):
        if "" in name.split("."):
            raise UserError(
                f"{name}={value}: a part of the setting's name is missing; write NAME=VALUE or data.NAME=VALUE"
            )
        if name.endswith(".seed") and isinstance(value, int) and value not in SEEDS:
            raise UserError(f"{name}={value}: must be {SEEDS_IN_WORDS}")


def require_agreement(named_configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `UserError` if two named configurations give a setting different values: one of them would be ignored."""
    given: dict[str, tuple[str, Any]] = {}
    for name, settings in named_configs.items():
        for setting, value in flattened(settings):
            other, others = given.setdefault(setting, (name, value))
            if others != value:
                values = f"{setting}={others} and {setting}={value}"
                raise UserError(f"{other} and {name} contradict each other, {values}: name one of them")


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a JSON file, as nested dictionaries. Raises `UserError`."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no configuration file {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the configuration file {path}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"the configuration file {path} has no settings: it must be a JSON object")
    nested: dict[str, Any] = {}
    for name, value in values.items():
        full_name = name if isinstance(value, dict) else str(SHORT_SETTINGS.get(name, name))
        for part in reversed(full_name.split(".")):
            value = {part: value}
        recursive_update(nested, value)
    return nested


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM, as a cluster sends it, ends a run like Ctrl-C: recorded as interrupted."""
    raise KeyboardInterrupt
