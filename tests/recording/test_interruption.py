"""Signals that end a run."""

import os
import signal
from collections.abc import Iterator

import pytest

from debiaslab.recording import interruption
from debiaslab.recording.interruption import SIGNALS, note_signals, raise_on_signals


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    """Signals have their default handlers, even if the tests were started by nohup or in the background."""
    defaults = {number: signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL for number in SIGNALS}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_interrupts(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), raise_on_signals():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(("number", "interrupts"), [(signal.SIGINT, True), (signal.SIGHUP, False)])
def test_what_was_ignored(number: int, interrupts: bool) -> None:
    """A shell ignores SIGINT for what a script starts in the background; nohup ignores SIGHUP, and means it."""
    before = signal.signal(number, signal.SIG_IGN)
    came = False
    try:
        with raise_on_signals():
            os.kill(os.getpid(), number)
    except KeyboardInterrupt:
        came = True
    finally:
        assert signal.signal(number, before) == signal.SIG_IGN
    assert came == interrupts


def test_what_comes_at_once_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed terminal sends several signals: the run is recorded in peace."""
    with raise_on_signals():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(interruption, "SETTLE_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_first_is_noted_the_next_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with raise_on_signals(), note_signals() as noted:
        assert not noted.requested
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert noted.requested
        monkeypatch.setattr(interruption, "SETTLE_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGUSR2)
