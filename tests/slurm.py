"""A real Slurm of two nodes on this machine, for tests."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from debiaslab.recording.server import free_port
from tests.held import PATIENCE

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
NODES = ("n1", "n2")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
{nodes}
PartitionName=low Nodes={names} Default=YES PriorityTier=1 GraceTime=5
PartitionName=high Nodes={names} PriorityTier=2
"""


class Cluster:
    """Slurm's daemons, and what can happen to a node. `folder` has configuration, state and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("munge", "state", *NODES):
            (folder / name).mkdir()
        (folder / "munge").chmod(0o700)
        key = folder / "munge/key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        nodes = [f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=1" for name in NODES]
        facts = {"nodes": "\n".join(nodes), "names": ",".join(NODES)}
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(CONFIGURATION.format(host=host, port=free_port(), folder=folder, **facts))
        self.environment = os.environ | {"SLURM_CONF": str(self.configuration)}

    def start(self) -> None:
        files = {name: f"--{name}-file={self.folder}/munge/{name}" for name in ("key", "pid", "log", "seed")}
        self.call("munged", "--force", f"--socket={self.folder}/munge/socket", *files.values())
        self.call("slurmctld")
        for name in NODES:
            self.start_node(name)
        self.wait(lambda: self.call("sinfo", "-h", "-N", "-o%T", "-plow").split() == ["idle"] * len(NODES))

    def stop(self) -> None:
        for name in NODES:
            self.kill_processes(name)
        for file in (self.folder / "slurmctld.pid", self.folder / "munge/pid"):
            kill_of(file)

    def call(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"too late: {self.call('squeue', '-a')}")
            time.sleep(0.1)

    def queue(self) -> dict[str, str]:
        """State of each job in the queue."""
        return dict(line.split() for line in self.call("squeue", "-h", "-r", "-o%i %T").splitlines())

    # ---- nodes

    def start_node(self, name: str) -> None:
        self.call("slurmd", "-N", name)

    def kill_node(self, name: str) -> None:
        """Kill all processes of a node at once, as a crash does, and let Slurm notice at once."""
        self.kill_processes(name)
        self.call("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=crash")

    def kill_processes(self, name: str) -> None:
        kill_of(self.folder / f"{name}.pid")
        for process in self.processes(name):
            with suppress(psutil.NoSuchProcess):
                parent = process.parent()
                if parent is not None and "slurmstepd" in parent.name():
                    parent.kill()
                process.kill()

    def kill_tasks(self) -> None:
        """Kill what jobs run, but not the nodes."""
        for process in (process for name in NODES for process in self.processes(name)):
            if process.name() not in ("slurmd", "slurmstepd"):
                process.kill()

    def processes(self, node: str) -> list[psutil.Process]:
        """The processes of jobs on a node."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                there = process.environ()
                if (there.get("SLURMD_NODENAME"), there.get("SLURM_CONF")) == (node, str(self.configuration)):
                    found.append(process)
        return found

    def hold_tasks(self, count: int, reached: Callable[[int], object]) -> dict[int, psutil.Process]:
        """Stop the process of each of the `count` jobs of an array, by index, as soon as `reached(index)` holds.

        Slurm lets them run on when it ends the job.
        """
        held: dict[int, psutil.Process] = {}

        def all_held() -> bool:
            for process in (process for node in NODES for process in self.processes(node)):
                with suppress(psutil.Error):
                    index = int(process.environ().get("SLURM_ARRAY_TASK_ID", 0))
                    if "submitit.core._submit" in process.cmdline()[:6] and index not in held and reached(index):
                        process.suspend()
                        held[index] = process
            return len(held) == count

        self.wait(all_held)
        return held


def kill_of(pid_file: Path) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(pid_file.read_text()), 9)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster in `folder`, whose path must be short: it has a socket. Skips the test where there is no Slurm, or its
    daemons cannot run."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing or os.geteuid():
        pytest.skip(f"needs Slurm as root (Debian: slurm-wlm, munge); {', '.join(missing) or 'not root'}")
    cluster = Cluster(folder)
    try:
        try:
            cluster.start()
        except (OSError, subprocess.CalledProcessError, pytest.fail.Exception) as error:
            pytest.skip(f"Slurm's daemons cannot run here: {getattr(error, 'stderr', None) or error}")
        yield cluster
    finally:
        cluster.stop()
