"""`python -m tests.fuzz KIND [--tries N] [--seed S] [--only NUMBER]`: damaged inputs, and what became of them.

The same seed gives the same tries; `--only` repeats one of them, with all that it printed. The exit code is 1 if a
try failed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.records import documents, records
from tests.fuzz.tries import Kind, run_tries, table

KINDS: dict[str, Kind] = {
    "records": records,  # the files of a run
    "documents": documents,  # the same in MongoDB
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    words = parser.parse_args(arguments)
    numbers = range(words.tries) if words.only is None else [words.only]
    with tempfile.TemporaryDirectory() as folder, KINDS[words.kind](Path(folder)) as attempt:
        outcomes = run_tries(attempt, words.seed, numbers, Path(folder), verbose=words.only is not None)
    print(table(outcomes))
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
