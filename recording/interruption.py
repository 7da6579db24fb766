"""Signals that end a run: from the keyboard, from a cluster, or from a terminal that is closed."""

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
SETTLE_SECONDS = 5.0  # further signals within so long are part of the first: a closed terminal sends several


class Interruption:
    """`requested`: whether a signal has come."""

    requested = False
    latest: ClassVar[float] = -math.inf  # when one came to this process


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Within the block, each of `SIGNALS` raises `KeyboardInterrupt`.

    SIGINT does also where a shell has set it to ignored, as for what a script starts with `&`. The others stay ignored
    where they are: `nohup` means it.
    """

    def interrupt() -> None:
        raise KeyboardInterrupt

    Interruption.latest = -math.inf
    with _handled(interrupt):
        yield


@contextmanager
def note_signals() -> Iterator[Interruption]:
    """Within the block, the first of `SIGNALS` is only noted; one that comes later raises `KeyboardInterrupt`."""
    noted = Interruption()

    def note() -> None:
        if noted.requested:
            raise KeyboardInterrupt
        noted.requested = True

    with _handled(note):
        yield noted


@contextmanager
def _handled(act: Callable[[], None]) -> Iterator[None]:
    """Within the block, `act` is called at a signal. Only the main thread can ask for that: in others, nothing is."""

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - Interruption.latest >= SETTLE_SECONDS:
            Interruption.latest = now
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
