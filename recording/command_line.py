"""The command line: Sacred's, with short names for settings, one-line errors, and no password in any record."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from docopt import docopt
from sacred import Experiment
from sacred.arg_parser import get_config_updates

from core.errors import TrainingDiverged, UserError, require_known
from recording.observers import MONGO_URL, FileRecord

# short for what is typed often; the settings on the right are the ones that are recorded
SHORT_SETTINGS = {
    "method": "method.name",
    "model": "model.name",
    "data": "data.name",
    "epochs": "method.hparams.epochs",
    "num_steps": "method.hparams.num_steps",
}


def run_command_line(ex: Experiment, arguments: list[str], after_interruption: Callable[[list[str]], str]) -> int:
    """Run `arguments` (as of `sys.argv[1:]`) and return the exit code.

    0: done; 1: training failed; 2: a user's mistake, told in one line; 130: interrupted, then `after_interruption`
    says how to go on. Any other error is a fault of this project and leaves its traceback.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = without_mongo_option(arguments)
    program = "main.py"
    options = docopt(ex.get_usage(program)[2], arguments, default_help=False)
    if options.get("help") or options.get("--help"):
        ex.run_commandline([program, *arguments])
        return 0
    command = options["COMMAND"] or ex.default_command
    try:
        require_known("command", command, [name for name, _ in ex.gather_commands()])
        settings, named_configs = read_updates(ex, options["UPDATE"])
        run = ex.run(command, settings, named_configs, options=options)
        for observer in run.observers:
            if isinstance(observer, FileRecord):
                observer.require_complete()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"training stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(after_interruption(arguments), file=sys.stderr)
        return 130
    return 0


def without_mongo_option(arguments: list[str]) -> list[str]:
    """`arguments` without `-m ADDRESS`, which goes into the environment: Sacred would record it, password and all."""
    rest = list(arguments)
    for position, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name in ("-m", "--mongo_db"):
            if not separator and position + 1 == len(arguments):
                raise SystemExit("error: -m needs an address: HOST:PORT:DB or mongodb://HOST:PORT/DB")
            os.environ[MONGO_URL] = value if separator else arguments[position + 1]
            del rest[position : position + (1 if separator else 2)]
            break
    return rest


def read_updates(ex: Experiment, updates: list[str]) -> tuple[dict[str, Any], list[str]]:
    """(settings, named configurations) of the words after `with`. Raises `UserError` for an unknown configuration."""
    written = []
    for update in updates:
        name, separator, value = update.partition("=")
        written.append(SHORT_SETTINGS.get(name, name) + separator + value)
        if not separator and not name.endswith((".json", ".yaml", ".yml")):
            require_known("named configuration", name, ex.named_configs)
        elif not separator and not Path(name).is_file():
            raise UserError(f"no configuration file {name}")
    settings, named_configs = get_config_updates(written)
    return settings, named_configs


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM, as a cluster sends it, ends a run like Ctrl-C: recorded as interrupted."""
    raise KeyboardInterrupt
