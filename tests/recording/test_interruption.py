"""Signals that end a run."""

import os
import signal

import pytest

from debiaslab.recording import interruption
from debiaslab.recording.interruption import SIGNALS, note_signals, raise_on_signals


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
