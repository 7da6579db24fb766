"""The local MongoDB server, as a program."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from debiaslab.recording.server import free_port, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("port", ["abc", "--help", "0", "65536"])
def test_what_is_no_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([port]) == 2
    assert capsys.readouterr().err.startswith(f"error: {port!r} is not a port: ")


def heed_interrupts() -> None:
    """What starts the tests in the background may have told all its children to ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_the_program(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-u", "-m", "debiaslab.recording.server", str(port), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts) as program:
        try:
            assert program.stdout is not None
            assert f"localhost:{port}" in program.stdout.readline()
            program.send_signal(number)
            assert program.wait(60) == 0
        finally:
            program.kill()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
