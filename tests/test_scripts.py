"""Every script of a data set says which runs it would make, without the data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from debiaslab import main
from debiaslab.commands import parallel
from tests.conftest import Command

pytestmark = pytest.mark.processes

SCRIPTS = Path(main.__file__).parents[1] / "scripts"
STUDIES = sorted(path.name for path in SCRIPTS.glob("*.sh") if path.name not in ("demo.sh", "study.sh"))
NUM_RUNS = {
    "bar.sh": 60,
    "bffhq.sh": 30,
    "biased_mnist.sh": 72,
    "celeba.sh": 15,
    "cifar10c.sh": 72,
    "cmnist.sh": 72,
    "colored_mnist.sh": 120,
    "corrupted_cifar10.sh": 120,
    "dogs_and_cats.sh": 36,
    "imagenet9.sh": 15,
    "imagenet9_bg.sh": 9,
    "kinetics.sh": 15,
    "low_bias.sh": 60,
    "metashift.sh": 9,
    "nicopp.sh": 9,
    "spawrious.sh": 54,
    "urbancars.sh": 24,
    "waterbirds.sh": 25,
}


def printed(script: str, *words: str, **environment: str) -> str:
    """What a script prints that is given list=True and `words`."""
    done = subprocess.run(
        ["bash", str(SCRIPTS / script), "list=True", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize("script", STUDIES)
def test_a_script_lists_its_runs(
    script: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that it starts is called in this process."""
    monkeypatch.setattr(parallel, "num_cores", lambda: 1)
    program, *words = printed(script, "data.root=data", "log_dir=runs", PYTHON="echo").split()
    assert program == "main.py"
    count = NUM_RUNS[script]
    assert f"{count} runs: {count} to run; 1 at a time" in command(*words, data=False).out
    assert list(tmp_path.iterdir()) == []


def test_methods_variants_seeds_and_jobs_by_environment_or_by_words(tmp_path: Path) -> None:
    places = {"PYTHON": sys.executable, "DEBIAS_DATA": str(tmp_path / "data"), "DEBIAS_LOGS": "none"}
    out = printed("colored_mnist.sh", "seeds=4-4", METHODS="erm lff", VARIANTS="skewed4", JOBS="2", **places)
    assert [line.split()[:3] for line in out.splitlines() if "to run" in line][:-1] == [
        ["erm", "skewed4", "4"],
        ["lff", "skewed4", "4"],
    ]
    assert "2 runs: 2 to run; 2 at a time" in out
    assert "1 run: 1 to run" in printed("celeba.sh", METHODS="erm", SEEDS="4", **places)
