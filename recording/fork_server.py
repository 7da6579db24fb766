"""A process that has imported the program and forks a process for each run, which saves the run the imports.

`ForkServer` starts it and asks it for runs; `wait_for_run` is what it does. It is started with the environment of its
runs, as some variables are read while modules are imported, and computes nothing: no run inherits threads, random
numbers or a GPU that are in use. A run is forked twice, and so becomes a child of the process that asked for it, which
waits for it, stops it and learns its exit code as if it had started it. It outlives both if they are killed.
"""

import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from setproctitle import setproctitle

from debiaslab.core.program import SERVE, program_command

SIZE_BYTES = 8  # of the length of a request, and of a process id
MAX_FILES = 253  # Linux passes no more descriptors in one message
KNOWN = b"1"  # to a run, when its process id is known; it starts then
PR_SET_CHILD_SUBREAPER = 36  # prctl: descendants without a parent become children of this process
POLL_SECONDS = 0.02


class ForkServer:
    """The server, with its socket. Raises `OSError` where processes cannot be adopted (only Linux can)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        if sys.platform != "linux" or ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError("processes cannot be adopted")
        self.socket, other = socket.socketpair()
        with other:
            self.process = subprocess.Popen(
                [*program_command(), SERVE, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                pass_fds=[other.fileno()],
            )

    def fork(
        self, arguments: Sequence[str], output: int, environment: Mapping[str, str], held_files: Sequence[int]
    ) -> "Forked":
        """Run `main.py ARGUMENTS` with the descriptor `output` as its output; `held_files` stay open.

        Waits for the server's imports. Raises `OSError` if the server is gone; then nothing runs.
        """
        request = {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(environment)}
        message = json.dumps(request).encode()
        read, write = os.pipe()
        with open(read, "rb") as known, open(write, "wb") as tell:
            socket.send_fds(self.socket, [len(message).to_bytes(SIZE_BYTES)], [output, known.fileno(), *held_files])
            self.socket.sendall(message)
            pid = int.from_bytes(_receive(self.socket, SIZE_BYTES))
            tell.write(KNOWN)
        return Forked(pid)

    def close(self) -> None:
        """End the server. Its runs go on."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


class Forked:
    """A run that a server has forked, with what `subprocess.Popen` has for a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code (-N: ended by signal N); None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises `subprocess.TimeoutExpired`."""
        start = time.monotonic()
        while (code := self.poll()) is None:
            if timeout is not None and time.monotonic() - start >= timeout:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(POLL_SECONDS)
        return code

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def wait_for_run(descriptor: int) -> list[str]:
    """Serve runs on the socket `descriptor`. Returns, in the process of each run, its arguments.

    The server itself ends here, when nobody can ask it any more.
    """
    with socket.socket(fileno=descriptor) as connection:
        while True:
            try:
                header, files, *_ = socket.recv_fds(connection, SIZE_BYTES, MAX_FILES)
                request = json.loads(_receive(connection, int.from_bytes(header)))
            except (OSError, ValueError):  # whoever started it has ended
                os._exit(0)
            pid = _fork_to_be_adopted()
            if pid == 0:
                break
            for file in files:
                os.close(file)
            with suppress(OSError):
                connection.sendall(pid.to_bytes(SIZE_BYTES))
    output, known, *_ = files
    with open(known, "rb") as told:
        if told.read() != KNOWN:
            os._exit(0)
    _become_run(request, output)
    arguments: list[str] = request["arguments"]
    return arguments


def _fork_to_be_adopted() -> int:
    """Fork a process whose parent has ended: 0 there, its id here."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            pid = os.fork()
        except OSError:
            os._exit(1)
        if pid:
            os.write(write, pid.to_bytes(SIZE_BYTES))
            os._exit(0)
        os.close(read)
        os.close(write)
        return 0
    os.close(write)
    with open(read, "rb") as pipe:
        pid = int.from_bytes(pipe.read(SIZE_BYTES))
    os.waitpid(between, 0)
    if pid == 0:
        os._exit(1)  # no memory for processes: whoever asked starts one of its own, or says so
    return pid


def _become_run(request: Mapping[str, Any], output: int) -> None:
    """Make this process what a new one for the run would be."""
    os.setsid()
    words = sorted(request["arguments"], key=lambda word: not word.startswith("--id="))  # a long title is cut
    setproctitle(shlex.join([*program_command(), *words]))  # before the environment changes, whose memory it uses
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    sys.argv[1:] = request["arguments"]


def _receive(connection: socket.socket, size: int) -> bytes:
    """`size` bytes. Raises `ConnectionError` at the end of the stream."""
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError
        received += part
    return received
