"""Progress of long work before training, on a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def tracked(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """The `items`, `total` in number, with a bar named `label` on the terminal; silent where standard error is none."""
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        yield from items
        return
    from rich.console import Console  # imported here: the project's core runs without rich
    from rich.progress import track

    yield from track(items, label, total=total, console=Console(file=sys.__stderr__), transient=True)
