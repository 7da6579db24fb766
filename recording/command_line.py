"""The command line: Sacred's, with short names for settings, one-line errors, and no passwords in records."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from docopt import DocoptExit, docopt
from sacred import Experiment
from sacred.commandline_options import cli_option
from sacred.run import Run

from debiaslab.core.console import one_line
from debiaslab.core.errors import LEFT, RankLost, TrainingDiverged, UserError, require_known
from debiaslab.core.extras import missing_extra
from debiaslab.core.mongo import MONGO_URL, without_password
from debiaslab.core.program import program_name
from debiaslab.recording.host import guard_host_facts
from debiaslab.recording.interruption import raise_on_signals
from debiaslab.recording.observers import MAX_ID_BYTES, STATE, FileRecord
from debiaslab.recording.os_errors import DISK_FULL, reader_has_left, report_os_error
from debiaslab.recording.updates import expand_path, read_updates

PROGRAM = program_name().removeprefix("python ")

# Sacred's options that are not supported, and why
RECORDS = "records go to files and, with -m, to MongoDB"
QUEUE = "runs start immediately; use a study for several runs"
REFUSED_OPTIONS = {
    "--sql": RECORDS,
    "--tiny_db": RECORDS,
    "--s3": RECORDS,
    "--queue": QUEUE,
    "--priority": QUEUE,
    "--enforce_clean": "every record contains the code version, and whether it was changed",
    "--capture": "all output is recorded",
    "--loglevel": "there is no log besides the output",
}
SECONDS = r"\d+|\d*\.\d+"
COLOR = r"\x1b\[[0-9;]*m"
RUN_ID = r"[^\W_][\w.-]*"  # a folder name; folders that begin with . or _ are not runs
SECRETS = (MONGO_URL, "DEBIAS_SEARCH_URL")  # environment variables with addresses that may hold passwords


class ReadyRun(Protocol):
    """A run that has passed all checks."""

    def start(self) -> object: ...


class Commands(Protocol):
    """Commands that are not runs of the experiment, by name (the package `commands`)."""

    @property
    def COMMANDS(self) -> Collection[str]: ...  # noqa: N802

    @property
    def EXPLAINED(self) -> Collection[str]: ...  # noqa: N802  (those that `command_help` knows)

    def run_command(self, command: str, updates: list[str], /) -> int:
        """Execute the command with the words after `with`, and return the exit code."""
        ...

    def command_help(self, command: str, /) -> str: ...

    def general_help(self) -> str: ...


@cli_option("-o", "--out")
def out_option(value: str, run: Any) -> None:
    """The output folder of commands such as report and export: the same as out=VALUE."""


def run_command_line(
    ex: Experiment, arguments: list[str], prepare: Callable[..., ReadyRun], commands: Commands | None = None
) -> int:
    """Run `arguments` (as of `sys.argv[1:]`) and return the exit code.

    0: success; 1: training failed; 2: a user's mistake, reported in one line; 130: ended by a signal, with the command
    that resumes; 141: standard output was closed, for instance by `head`. Any other error is a bug and shows its
    traceback. `prepare` checks a run of the experiment and returns it ready to start.
    """
    guard_host_facts()
    with raise_on_signals(), restored_environment(MONGO_URL):
        try:
            code = _run(ex, arguments, prepare, commands)
            sys.stdout.flush()
        except BrokenPipeError:
            if not reader_has_left():
                raise
            return 141
        except OSError as error:
            if error.errno not in DISK_FULL and error.filename is None:
                raise
            report_os_error(error)
            return 2
    return code


@contextmanager
def restored_environment(name: str) -> Iterator[None]:
    """Restore the variable `name` at the end of the block, so that -m applies to one call only."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _run(ex: Experiment, arguments: list[str], prepare: Callable[..., ReadyRun], commands: Commands | None) -> int:
    own = commands.COMMANDS if commands is not None else {}
    options: dict[str, Any] = {}
    updates: list[str] = []
    earlier = ex.current_run
    try:
        known = [*(name for name, _ in ex.gather_commands()), *own]
        options = parse(ex, arguments, known)
        command = options["COMMAND"] or str(ex.default_command)
        if command in ex.named_configs or "=" in command:
            raise UserError(
                f"{command!r} is not a command: settings come after with, as in {program_name()} with {command}"
            )
        if command == "with":
            raise UserError(
                f"there is nothing after with: leave it out or add settings, as in {program_name()} with digits"
            )
        require_known("command", command, known)
        if options.get("help") or options.get("--help"):
            if commands is not None and options["COMMAND"] is None:
                print(commands.general_help())
            elif commands is not None and command in commands.EXPLAINED:
                print(commands.command_help(command))
            else:
                ex.run_commandline([PROGRAM, *arguments])
            return 0
        updates = [expand_path(update) for update in (*options["UPDATE"], *take_options(options))]
        if commands is not None and command in own:
            require_no_option(options, command)
            return commands.run_command(command, updates)
        settings, named_configs = read_updates(ex, updates)
        with plain_text() if command.startswith("print_") else nullcontext():
            prepare(command, settings, named_configs, options=options).start()
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        advice = missing_extra(error)
        if advice is None:
            raise
        print(f"error: {advice}", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"training stopped: {error}", file=sys.stderr)
        return 1
    except RankLost:
        print("training stopped: another process of the run has ended", file=sys.stderr)
        return LEFT
    except KeyboardInterrupt as interruption:  # the command may have set its own message on how to resume
        run = ex.current_run if ex.current_run is not earlier else None
        print(str(interruption) or explain_interruption(run, options, updates, own), file=sys.stderr)
        return 130
    return 0


def explain_interruption(
    run: Run | None, options: Mapping[str, Any], updates: list[str], commands: Collection[str]
) -> str:
    """The message after a signal has ended `run` or a command, with the command line that resumes it, if any."""
    command = options.get("COMMAND")
    observers = run.observers if run is not None else []
    folders = (record.dir for record in observers if isinstance(record, FileRecord) and record.dir)
    state = next((Path(folder) / STATE for folder in folders), None)
    if state is not None and state.exists():
        if command == "resume":  # all that was typed is in the record
            return f"interrupted; to resume: {command_line_of(command, [], runs=[os.path.relpath(state.parent)])}"
        updates = [update for update in updates if not update.startswith("resume=")]
        updates.append(f"resume={os.path.relpath(state.parent)}")
    elif command not in commands:
        return "interrupted"
    return f"interrupted; to resume: {command_line_of(command, updates, options)}"


def command_line_of(
    command: str | None,
    updates: Sequence[str],
    options: Mapping[str, Any] = MappingProxyType({}),
    runs: Sequence[str] = (),
) -> str:
    """Reconstruct the command line of `command`, with the address of MongoDB (never a password) and `options`.

    Leaves out --id, as that run exists already. `runs` follow the command.
    """
    address = os.environ.get(MONGO_URL)
    words = ["-m", address] if address and address == without_password(address) else []
    for name, value in options.items():
        if name.startswith("--") and value and name != "--id":
            words.append(name if value is True else f"{name}={value}")
    words += [command, *runs] if command else []
    line = shlex.join([*program_name().split(), *words, *(["with", *updates] if updates else [])])
    hidden = [name for name in SECRETS if os.environ.get(name, "") != without_password(os.environ.get(name, ""))]
    return line + (f" (with {' and '.join(hidden)} as in this environment)" if hidden else "")


@contextmanager
def plain_text() -> Iterator[None]:
    """Remove colours from the output of Sacred's commands within the block, unless it goes to a terminal."""
    if sys.stdout.isatty():
        yield
        return
    with redirect_stdout(StringIO()) as printed:
        yield
    sys.stdout.write(re.sub(COLOR, "", printed.getvalue()))


def parse(ex: Experiment, arguments: list[str], commands: Collection[str]) -> dict[str, Any]:
    """Parse options, command and updates. Raises `UserError` for a line that cannot be parsed."""
    try:
        with redirect_stdout(StringIO()):  # the parser's own messages
            found: dict[str, Any] = docopt(ex.get_usage(PROGRAM)[2], arguments, default_help=False)
    except DocoptExit:
        line = shlex.join(arguments)
        meant = insert_with(arguments, commands, ex.named_configs)
        if meant:
            way = f"{program_name()} {shlex.join(meant)}"
            raise UserError(f"cannot read {line!r}: settings come after with, as in {way}") from None
        raise UserError(
            f"cannot read {line!r}: it must be [OPTIONS] [COMMAND] [with SETTINGS];"
            f" {program_name()} --help shows the options and commands"
        ) from None
    return found


def insert_with(arguments: list[str], commands: Collection[str], named_configs: Collection[str]) -> list[str] | None:
    """Insert `with` after the command, or before the first setting; None if that is not the mistake."""
    if "with" in arguments:
        return None
    for place, (word, following) in enumerate(zip(arguments, [*arguments[1:], "-"], strict=True)):
        if word in commands and not following.startswith("-"):
            return [*arguments[: place + 1], "with", *arguments[place + 1 :]]
        if not word.startswith("-") and (word in named_configs or "=" in word):
            return [*arguments[:place], "with", *arguments[place:]]
    return None


def require_no_option(options: Mapping[str, Any], command: str) -> None:
    """Raise `UserError` for options of runs that are used with a command that is not a run."""
    for name, value in options.items():
        if name.startswith("--") and value:
            raise UserError(f"{name} has no effect with {command}: leave it out")


def take_options(options: dict[str, Any]) -> list[str]:
    """Remove options that Sacred would handle differently from `options`, and return equivalent settings.

    The address of -m goes into the environment, as Sacred would record it including the password. -F DIR is
    log_dir=DIR, --out DIR is out=DIR. Raises `UserError` for an option that is not supported.
    """
    for name, reason in REFUSED_OPTIONS.items():
        if options.get(name):
            raise UserError(f"{name} is not supported: {reason}")
    interval = options["--beat-interval"]
    if interval and not re.fullmatch(SECONDS, interval):
        raise UserError(f"--beat-interval={interval}: must be seconds, such as 10 or 0.5")
    if options["--id"]:
        require_run_id("--id", options["--id"])
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


def require_run_id(name: str, run_id: str) -> None:
    """Raise `UserError` unless `run_id` can be used as the name of a folder."""
    if not re.fullmatch(RUN_ID, run_id):
        raise UserError(f"{name}={run_id}: must be letters, digits, and -, _ or . after the first")
    if len(run_id.encode()) > MAX_ID_BYTES:
        raise UserError(f"{name}={run_id[:20]}...: must be no longer than {MAX_ID_BYTES} bytes")
