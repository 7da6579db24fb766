"""Imports that a program can do without."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(name: str) -> Iterator[None]:
    """Within the block the package `name`, unless it is imported already, cannot be: as if it were not installed.

    For a library that imports it where it is there, whether or not it will be used.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
