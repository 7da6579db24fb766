"""Odd values of every setting of a run, and of every word of a command."""

import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.context import ForkProcess
from pathlib import Path
from random import Random

from debiaslab import commands, main
from debiaslab.commands.words import word_names
from debiaslab.config import ex
from debiaslab.core.settings import flatten
from debiaslab.datasets import DATASETS
from debiaslab.methods import METHODS
from debiaslab.models import MODELS
from debiaslab.recording.configuration import unchecked_configuration
from tests.fuzz.tries import Attempt, Printed

SMOKE = ("smoke", "num_steps=3", "model.hparams.widths=[4]", "evaluate_images=20")
ODD = (
    *("", "None", "True", "-1", "0", "1", "2", "0.5", "-0.0", "1e308", "1e-320", "1e999", "nan", "-inf"),
    *(str(10**23), "9" * 5_000, "x", "x" * 300, "é\u0301", "\udc80", "a\nb", "\x1b[31mred", "'", '"', "[", "{"),
    *("[]", "[[]]", "[0]", "[1,'a',None]", "[nan]", "{}", "{'a': 1}", "{1: 2}", "{(1, 2): 3}", "()", "1,2", "1-5", ","),
    *("../..", "/dev/null", "/dev/full", "~nobody/x", "~", "$NOT_SET", "${", "=", "=1", "a=b", "*", "good-1", "."),
    *("lambda: 0", "__import__('os')", "1+1", "1/0", "choice(1,2)", "log(0,1)", "int(5,2)", "uniform(nan,1)"),
    *("{place}/file", "{place}/folder", "{place}/pipe", "{place}/link", "{place}/array.npy", "{place}/missing/x"),
    *("last", "test", "auto", "best_valid_nothing", "erm", "resnet18", "cuda:99"),
)
OPTIONS = ("--id", "--name", "--comment", "--beat-interval", "--out", "-F", "-p", "-f", "-d", "--pdb", "-u", "-q", "-x")
LIMIT_SECONDS = 60  # after which a command is interrupted: what was asked for may take years
ENDING_SECONDS = 60  # in which it has to end then
LONG = re.compile(r"epoch|step|trial|run|recorded")  # what one that works says


@contextmanager
def settings(folder: Path) -> Iterator[Attempt]:
    """A training with an odd value of one setting."""
    data_root = folder / "data"
    fork(["inspect", "with", "digits", f"data.root={data_root}"], folder)

    def attempt(random: Random, place: Path) -> tuple[str, str | None]:
        data = random.choice(("digits", "digits", "digits", *DATASETS))
        words = [f"data={data}", f"method={random.choice(list(METHODS))}", *SMOKE]
        if random.random() < 0.2:
            words = [*words[:-2], f"model={random.choice(list(MODELS))}"]
        names = [name for name, _ in flatten(unchecked_configuration(ex, words))]
        name = random.choice(
            (*names, "data", "method", "model", "method.hparams", "model.hparams", "data.", "x", "x.y")
        )
        line = ["with", *words, f"data.root={data_root}", f"log_dir={place / 'runs'}", f"{name}={odd(random, place)}"]
        return name.partition(".")[0], judge(line, place)

    yield attempt


@contextmanager
def words(folder: Path) -> Iterator[Attempt]:
    """A command with an odd value of one or two of its words, where there are runs."""
    data_root, runs = folder / "data", folder / "runs"
    smoke = ["data=digits", *SMOKE, f"data.root={data_root}", f"log_dir={runs}"]
    for name in ("good-1", "good-2"):
        fork([f"--id={name}", "with", *smoke, "method=erm"], folder)

    def attempt(random: Random, place: Path) -> tuple[str, str | None]:
        command = random.choice((*commands.COMMANDS, "evaluate", "inspect", "print_config", "train"))
        own = [f"data.root={data_root}", f"log_dir={runs}"]
        names = ["seed", "method", "data", "data.skew", "x"]
        if command in commands.COMMANDS:
            names += 5 * word_names(import_module(commands.COMMANDS[command]).WORDS)
        if command not in ("results", "compare", "plots", "report", "export", "rerun", "sync"):
            own = [*smoke[:-1], f"log_dir={place / 'runs'}", "method=erm"]
        given = [f"{name}={odd(random, place)}" for name in random.choices(names, k=random.choice((1, 1, 2)))]
        if command == "search":
            given.append(random.choice(("trials=1", f"method.hparams.learning_rate={odd(random, place)}")))
        options = [f"{random.choice(OPTIONS)}={odd(random, place)}"] if random.random() < 0.1 else []
        return command, judge([*options, command, "with", *own, *given], place)

    yield attempt


def odd(random: Random, place: Path) -> str:
    """An odd value; those that name a file, a pipe and so on name one that is there."""
    value = random.choice(ODD)
    if "{place}" not in value:
        return value
    if not (place / "file").exists():
        (place / "file").write_bytes(b"\x80x,y\n1\n")
        (place / "array.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False,")
        (place / "folder").mkdir()
        os.mkfifo(place / "pipe")
        (place / "link").symlink_to(place / "link")
    return value.replace("{place}", str(place))


def judge(line: Sequence[str], place: Path) -> str | None:
    """None if this command line ends with a result or a line."""
    printed = fork(line, place)
    told = f"{line}\n{printed.out[-800:]}{printed.err[-3000:]}"
    if printed.escaped is not None:
        return f"{told}\n{printed.escaped}"
    if "Traceback" in printed.err or "Warning" in printed.err:
        return told + "\na traceback or a warning is shown"
    if printed.code not in (0, 1, 2, 130):
        return f"{told}\nexit code {printed.code}"
    lines = [text for text in printed.err.strip().splitlines() if "left out: " not in text and "note: " not in text]
    if printed.code == 2 and len(lines) != 1:
        return f"{told}\n{len(lines)} lines of error"
    return None


def fork(line: Sequence[str], place: Path) -> Printed:
    """Call the command line in a child of this process, which is stopped as by Ctrl-C after `LIMIT_SECONDS`."""
    child = start(line, place)
    child.join(LIMIT_SECONDS)
    escaped = None
    if child.is_alive():
        os.kill(child.pid or 0, signal.SIGINT)
        child.join(ENDING_SECONDS)
        if child.is_alive():
            child.kill()
            child.join()
            escaped = f"hangs: interrupted after {LIMIT_SECONDS} s, killed after {ENDING_SECONDS} more"
        elif not LONG.search((place / "out").read_text(errors="replace")):
            escaped = f"said nothing in {LIMIT_SECONDS} s"
    out, err = ((place / name).read_text(errors="replace") for name in ("out", "err"))
    return Printed(child.exitcode if child.exitcode is not None else -1, out, err, escaped)


def start(line: Sequence[str], place: Path) -> ForkProcess:
    """Start the command line in a child of this process, which works in the folder `place`."""
    place.joinpath("here").mkdir(exist_ok=True)
    child = multiprocessing.get_context("fork").Process(target=call, args=(line, place))
    child.start()
    return child


def call(line: Sequence[str], place: Path) -> None:
    """The child: its output goes to the files `out` and `err`, it works in the folder `here`."""
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(place / "here")
    os.environ["HOME"] = str(place / "here")
    code = 99
    try:
        code = main.run(commands_line(line))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 99
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def commands_line(line: Sequence[str]) -> list[str]:
    """A command line has no null bytes, and its letters outside UTF-8 are as the system hands them over."""
    return [os.fsdecode(word.encode(errors="surrogateescape")) for word in line]
