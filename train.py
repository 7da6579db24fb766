"""LfF's documented command, `python train.py with server_user colored_mnist skewed3 severity4`: main.py with LfF."""

import sys

from debiaslab.__main__ import main


def with_lff(arguments: list[str]) -> list[str]:
    """`arguments` with method=lff, unless they choose a method themselves."""
    if any(argument.startswith(("method=", "method.name=")) for argument in arguments):
        return arguments
    return [*arguments, *([] if "with" in arguments else ["with"]), "method=lff"]


if __name__ == "__main__":
    sys.exit(main(with_lff(sys.argv[1:])))
