"""Work in worker processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from debiaslab.core.errors import UserError
from debiaslab.core.parallel import map_in_processes

JOBS = list(range(23))
ROOT = Path(__file__).parents[2]

# tells the workers' numbers, and works on
PARENT = """
import os
import time
from debiaslab.core.parallel import map_in_processes

def work(job):
    time.sleep(0 if job < 8 else 60)
    return os.getpid()

if __name__ == "__main__":
    made = map_in_processes(work, range(100), workers=2)
    print(*{next(made) for _ in range(8)}, flush=True)
    next(made)
"""


def described(job: int) -> tuple[int, int]:
    return job, os.getpid()


def refused(job: int) -> int:
    if job == 7:
        raise UserError("7 is not a number that anybody likes")
    return job


def test_results_come_in_order_from_other_processes() -> None:
    made = list(map_in_processes(described, JOBS, workers=3))
    assert [job for job, _ in made] == JOBS
    assert os.getpid() not in {process for _, process in made}


def test_one_worker_is_this_process() -> None:
    assert list(map_in_processes(described, JOBS, workers=1)) == [(job, os.getpid()) for job in JOBS]


def test_no_jobs() -> None:
    assert not list(map_in_processes(described, [], workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_here(workers: int) -> None:
    with pytest.raises(UserError, match="7 is not a number"):
        list(map_in_processes(refused, JOBS, workers))
    assert not multiprocessing.active_children()


def test_workers_end_when_nobody_asks_for_more() -> None:
    made = map_in_processes(described, JOBS, workers=2)
    assert next(made)[0] == 0
    made.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def has_ended(process: int) -> bool:
    """Whether it is gone, or waits as a zombie for somebody to ask how it ended."""
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert workers
    deadline = time.monotonic() + 30
    while not all(map(has_ended, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(has_ended, workers))
