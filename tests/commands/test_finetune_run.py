"""`finetune RUN`: training starts from the weights that a recorded run has left."""

from pathlib import Path

import pytest
import torch

from debiaslab.methods import METHODS, Method, Task
from debiaslab.models import Networks, architecture
from debiaslab.settings.weights import start_from
from debiaslab.training.checkpoint import add_prefix, read_checkpoint, write_checkpoint
from tests.conftest import Command, make_once, only_run

WORDS = ("digits", "method=lff", "epochs=1", "evaluate_images=100")


@pytest.fixture
def run(command: Command, tmp_path: Path, first_copy: Path) -> Path:
    make_once(first_copy, tmp_path, lambda: command("with", *WORDS))
    return only_run(tmp_path)


def test_it_starts_where_the_run_has_ended(command: Command, run: Path) -> None:
    """A step that changes nothing leaves the weights of the run, by command and by setting."""
    small = "method.hparams.learning_rate=1e-30"
    by_command = command("finetune", run.name[:-2], "with", "rule=last", "seed=2", small, data=False)
    assert by_command.code == 0, by_command.err
    by_setting = command("with", *WORDS, "seed=2", small, f"start_from={run / 'last.safetensors'}")
    assert by_setting.code == 0, by_setting.err
    expected, _ = read_checkpoint(run / "last.safetensors")
    for outcome in (by_command, by_setting):
        found, _ = read_checkpoint(outcome.runs[0] / "last.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-12)
    config = by_command.record("config.json")
    assert (config["start_from"], config["seed"]) == (f"runs/{run.name}/last.safetensors", 2)
    assert by_command.record("info.json")["finetunes"] == run.name


def test_other_classes(tmp_path: Path) -> None:
    """The layers before the last are those of the run; the last ones keep their initial values."""

    def lff(num_classes: int, seed: int) -> Method:
        networks = Networks(architecture("mlp", {"widths": (5, 4)}), (3, 4, 4), num_classes, seed)
        task = Task(num_classes, torch.arange(num_classes), seed)
        return METHODS["lff"](METHODS["lff"].Config(), networks, task)

    trained, started = lff(3, 1), lff(2, 2)
    before = {name: tensor.clone() for name, tensor in started.state_dict().items()}
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, add_prefix("method", trained.weights()), {"architecture": {"method.name": "lff"}})
    start_from(path, started)
    for name, tensor in started.weights().items():
        expected = before if ".head." in name else trained.state_dict()
        assert tensor.equal(expected[name]), name


def test_mistakes(command: Command, run: Path) -> None:
    other = command("with", "digits", "method=denetdm", "smoke").runs[0]
    for words, found in (
        (["finetune", str(run), "with", "method=erm"], "is of method=lff"),
        (["finetune", str(run), "with", f"start_from={run}"], "the run to start from follows the command"),
        (["finetune", str(run), "with", "model.hparams.widths=[9,9]"], "weights of method=lff, and of other networks"),
        (["finetune"], "which run? Write `python main.py finetune RUN`"),
        (["with", *WORDS, f"start_from={other}"], f"start_from={other}: weights of method=denetdm, and of other"),
        (["with", *WORDS, "start_from=nothing"], "no checkpoint nothing; a run's folder has"),
    ):
        outcome = command(*words, data="with" in words[:1])
        assert outcome.code == 2, words
        assert found in outcome.err
        assert len(outcome.err.splitlines()) == 1
        assert outcome.runs == []
