"""What a command prints."""

import sys
from typing import Any

from rich.console import Console


def left_out(what: object) -> None:
    """Say on standard error what is left out, and why."""
    print(f"left out: {what}", file=sys.stderr)


def show(*things: Any) -> None:
    """Print to standard output; plain text where that is no terminal, as wide as it needs to be."""
    console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 240
    for thing in things:
        console.print(thing)
