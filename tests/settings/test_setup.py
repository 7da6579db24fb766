"""What is left to the data is settled when they are read; each thing is read and built once."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from debiaslab.commands.studies.jobs import jobs_of, with_data
from debiaslab.commands.studies.recorded import Recorded
from debiaslab.commands.studies.words import read_study
from debiaslab.config import ex
from debiaslab.recording.configuration import configuration
from debiaslab.recording.version import current_code
from debiaslab.settings.setup import Setup, check, is_open, load_once
from tests.conftest import Command
from tests.datasets.own_images import SIZE, bias, save_digits, target, write_csv


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Own images, with bias labels."""
    (tmp_path / "images").mkdir()
    save_digits(tmp_path / "images")
    return write_csv(tmp_path / "own.csv", "path,target,bias", lambda number: f"{target(number)},{bias(number)}")


def words(csv: Path) -> list[str]:
    small = [f"data.image_size={SIZE}", "data.cache=cache", "model=mlp", "model.hparams.widths=[4]", "method=lff_be"]
    return ["custom", f"data.csv={csv}", *small, "seed=1", "smoke", "num_steps=2", "method.hparams.batch_size=4"]


def test_a_configuration_is_the_same_whatever_is_on_the_disk(tmp_path: Path, csv: Path) -> None:
    without = configuration(ex, words(tmp_path / "missing.csv"))
    found = configuration(ex, words(csv))
    assert is_open(found)
    assert {**without, "data": found["data"]} == found
    assert found["selection"] == "auto"


def test_the_data_settle_what_is_left_to_them(csv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    setup, data = check(configuration(ex, words(csv))).with_data()
    assert data.train.has_bias
    assert not is_open(setup.config)
    assert setup.run.selection == setup.config["selection"] == "best_valid_unbiased"
    write_csv(csv, "path,target", target)
    load_once.cache_clear()
    setup, data = check(configuration(ex, words(csv))).with_data()
    assert not data.train.has_bias
    assert setup.run.selection == "best_valid_accuracy"


def test_what_was_settled_is_recorded_and_found_by_a_study(command: Command, csv: Path, tmp_path: Path) -> None:
    outcome = command("with", *words(csv), data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.record("config.json")["selection"] == "best_valid_unbiased"
    jobs = jobs_of(read_study(words(csv)))
    recorded = Recorded(tmp_path / "runs", current_code(ex))
    for found in (jobs, list(with_data(jobs))):  # as `list=True` has them, and as they are run
        (job,) = found
        assert recorded.state(job).done == outcome.runs[0].name


def test_a_run_builds_its_method_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    original = Setup._method

    def watched(self: Setup, *values: Any, **more: Any) -> Any:
        built.append(original(self, *values, **more))
        return built[-1]

    monkeypatch.setattr(Setup, "_method", watched)
    outcome = command("with", "smoke", "method=erm", "num_steps=2")
    assert (outcome.code, len(built)) == (0, 1)
    assert command("evaluate", "with", "smoke", "method=erm", f"checkpoint={outcome.runs[0]}").code == 0
    assert len(built) == 2


def test_an_unpublished_recipe_is_said_to_be_one(command: Command) -> None:
    said = "none published: as"
    assert said not in command("with", "smoke", "method=erm", "num_steps=2").out
    assert said in command("print_config", "with", "biased_mnist", "method=lff").out


def test_no_command_line_is_needed_for_a_check() -> None:
    code = (
        "import sys; from debiaslab.config import ex; from debiaslab.recording.configuration import configuration\n"
        "try: configuration(ex, ['data.skew=7'])\n"
        "except Exception as error: print(error, 'debiaslab.main' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "data.skew=7.0: must be between 0 and 1, both excluded False\n", done.stderr
