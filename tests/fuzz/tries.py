"""Tries, whatever they damage: repeatable, with a time limit, and counted."""

import io
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

LIMIT_SECONDS = 60  # after which a command is said to hang

# does one try in an empty folder; returns what it damaged and how, and what went wrong, if anything did
Attempt = Callable[[Random, Path], tuple[str, str | None]]
# makes what its tries share, in a folder of its own
Kind = Callable[[Path], AbstractContextManager[Attempt]]


@dataclass(frozen=True)
class Outcome:
    number: int
    what: str
    failure: str | None


class Hanging(BaseException):
    """Raised in a command that has taken too long; a `BaseException`, so that nothing takes it for its own."""


@dataclass(frozen=True)
class Printed:
    """What a command printed, and its exit code; `escaped` is the traceback of an error that it did not catch."""

    code: int
    out: str
    err: str
    escaped: str | None


def run_tries(
    attempt: Attempt, seed: int, numbers: Iterable[int], folder: Path, verbose: bool = False
) -> list[Outcome]:
    outcomes = []
    for number in numbers:
        place = folder / f"try-{number}"
        place.mkdir()
        try:
            what, failure = attempt(Random(f"{seed}-{number}"), place)
        finally:
            shutil.rmtree(place)
        outcomes.append(Outcome(number, what, failure))
        if failure is not None and not verbose:
            print(f"try {number}, {what}: {failure.strip().splitlines()[-1]}", file=sys.stderr)
        elif verbose:
            print(f"try {number}, {what}: {failure or 'as it should be'}", file=sys.stderr)
    return outcomes


def called(run: Callable[[list[str]], int], words: Sequence[str]) -> Printed:
    """Call the command line in this process."""
    out, err, escaped, code = io.StringIO(), io.StringIO(), None, -1

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    signal.alarm(LIMIT_SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = run(list(words))
    except Hanging:
        escaped = f"hangs: {time.monotonic() - start:.0f} s\n{traceback.format_exc()}"
    except (Exception, SystemExit):
        escaped = traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Printed(code, out.getvalue(), err.getvalue(), escaped)


def table(outcomes: Sequence[Outcome]) -> str:
    """Tries and failures of each kind of damage, in Markdown."""
    tries = Counter(outcome.what for outcome in outcomes)
    failures = Counter(outcome.what for outcome in outcomes if outcome.failure)
    lines = ["| damaged | tries | failures |", "|---|---:|---:|"]
    lines += [f"| {what} | {tries[what]} | {failures[what]} |" for what in sorted(tries)]
    lines += [f"| all | {len(outcomes)} | {failures.total()} |"]
    return "\n".join(lines)
