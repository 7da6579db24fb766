"""A real PostgreSQL server on this machine, for the tests of searches."""

import getpass
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from debiaslab.recording.server import free_port

PASSWORD = "tall-secret"
USER = "postgres"
FOUND = shutil.which("initdb")
INSTALLED = [Path(FOUND)] if FOUND else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yields the address of an empty database, with the password; skips the test where the server cannot run.

    It refuses to run as root: then it runs as the system's user of PostgreSQL.
    """
    programs = INSTALLED[-1].parent
    folder = Path(mkdtemp(prefix="postgres-"))
    as_root = getpass.getuser() == "root"
    prefix = ["runuser", "-u", USER, "--"] if as_root else []
    if as_root:
        shutil.chown(folder, USER)
    port = free_port()

    def call(program: str, *arguments: str) -> None:
        command = [*prefix, str(programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        if as_root:
            shutil.chown(password, USER)
        data, options = str(folder / "data"), f"-p {port} -k {folder} -c fsync=off -c listen_addresses=127.0.0.1"
        try:
            call("initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--no-sync", f"--pwfile={password}")
            call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"PostgreSQL cannot run here: {getattr(error, 'stderr', None) or error}")
        try:
            yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
