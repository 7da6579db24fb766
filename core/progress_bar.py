"""A progress bar on the terminal, for long work before training."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress_bar(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield the `total` items, with a bar labelled `label` on standard error if that is a terminal."""
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        yield from items
        return
    from rich.console import Console  # imported here: the project's core runs without rich
    from rich.progress import track

    yield from track(items, label, total=total, console=Console(file=sys.__stderr__), transient=True)
