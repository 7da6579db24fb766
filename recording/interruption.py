"""Signals that end a run: from the keyboard, a cluster scheduler, or a closed terminal."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
SETTLE_SECONDS = 5.0  # further signals within this time count as one: a closed terminal sends several


class Interruption:
    """`requested`: whether a signal has been received."""

    requested = False
    latest: ClassVar[float] = -math.inf  # time of the latest signal
    number: ClassVar[int | None] = None  # its number


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Make each of `SIGNALS` raise `KeyboardInterrupt` within the block.

    This includes a SIGINT that a shell has set to ignored, as for background jobs of a script. The others stay ignored
    if they are, which `nohup` relies on.
    """

    def interrupt() -> None:
        raise KeyboardInterrupt

    Interruption.latest = -math.inf
    with _handle_signals(interrupt):
        yield


@contextmanager
def note_signals() -> Iterator[Interruption]:
    """Only note the first of `SIGNALS` within the block; a later one raises `KeyboardInterrupt`."""
    noted = Interruption()

    def note() -> None:
        if noted.requested:
            raise KeyboardInterrupt
        noted.requested = True

    with _handle_signals(note):
        yield noted


@contextmanager
def _handle_signals(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` at a signal within the block. Does nothing in other threads than the main one."""

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - Interruption.latest >= SETTLE_SECONDS:
            Interruption.latest, Interruption.number = now, number
            act()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    numbers = [number for number in SIGNALS if number == signal.SIGINT or before[number] != signal.SIG_IGN]
    try:
        for number in numbers:
            signal.signal(number, handle)
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
