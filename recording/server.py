"""A local MongoDB server from the package fiftyone-db: `python -m debiaslab.recording.server [PORT [FOLDER]]`."""

import importlib.util
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from debiaslab.core.errors import UserError
from debiaslab.core.program import program_name

START_SECONDS = 30


def mongod() -> Path:
    """The server's executable. Raises `UserError` if the package is not installed."""
    spec = importlib.util.find_spec("fiftyone")
    for location in spec.submodule_search_locations or [] if spec else []:
        program = Path(location) / "db" / "bin" / "mongod"
        if program.is_file():
            program.chmod(0o755)  # missing in the package
            return program
    raise UserError("no MongoDB server: install it with `make test` or pip install -r requirements-dev.txt")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on 127.0.0.1:`port` with its data in `folder` until the end of the block.

    Raises `UserError` if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "mongod.log"
    command = [mongod(), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", "--logpath", log]
    server = subprocess.Popen([*map(str, command), "--nounixsocket"], stdout=subprocess.DEVNULL)
    try:
        wait_for(server, port, log)
        yield server
    finally:
        server.terminate()
        server.wait()


def wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise UserError(f"the MongoDB server on port {port} did not start; see {log}")


def main(arguments: list[str]) -> int:
    port = arguments[0] if arguments else "27017"
    folder = Path(arguments[1]) if len(arguments) > 1 else Path(".mongo")
    try:
        if not port.isdecimal() or not 0 < int(port) < 2**16:
            raise UserError(f"{port!r} is not a port: give PORT, from 1 to 65535, and FOLDER")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the server ends as well
        with running_server(int(port), folder) as server:
            print(f"MongoDB is running; record into it with: {program_name()} -m localhost:{port}:debiaslab with ...")
            print("stop it with Ctrl-C")
            return server.wait()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
