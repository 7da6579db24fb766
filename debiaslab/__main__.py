"""`python -m debiaslab ...`, and the command `debiaslab`: the same as `python main.py ...`."""

import sys

from debiaslab.main import run


def main() -> int:
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
