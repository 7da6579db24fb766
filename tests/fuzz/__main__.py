"""`python -m tests.fuzz KIND [--tries N] [--seed S] [--only NUMBER]`: damaged or odd inputs, and what became of them.

The same seed gives the same tries; `--only` repeats one of them, with all that it printed. The exit code is 1 if a
try failed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.kills import kills
from tests.fuzz.records import documents, records
from tests.fuzz.tries import Kind, run_tries, table
from tests.fuzz.words import settings, words

KINDS: dict[str, Kind] = {
    "records": records,  # the files of a run
    "documents": documents,  # the same in MongoDB
    "settings": settings,  # of a training
    "words": words,  # of the other commands
    "kills": kills,  # no input: runs that are killed and resumed
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    given = parser.parse_args(arguments)
    numbers = range(given.tries) if given.only is None else [given.only]
    with tempfile.TemporaryDirectory() as folder, KINDS[given.kind](Path(folder)) as attempt:
        outcomes = run_tries(attempt, given.seed, numbers, Path(folder), verbose=given.only is not None)
    print(table(outcomes))
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
