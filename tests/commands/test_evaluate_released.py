"""`evaluate` with weights that the authors' code has saved: on the digits, of networks that are made for them."""

import json
from pathlib import Path

import pytest
import torch

from debiaslab.methods import METHODS, Task
from debiaslab.methods.base import Method
from debiaslab.models import Networks, architecture
from debiaslab.released import RULE
from tests.conftest import Command
from tests.released.authors import network, prefixed, with_company

SHAPE = (3, 28, 28)


def built(method: str, model: str, **sizes: object) -> Method:
    cls = METHODS[method]
    networks = Networks(architecture(model, sizes), SHAPE, 10, 3)
    return cls(cls.Config(), networks, Task(10, torch.zeros(4, dtype=torch.int64), 3))


@pytest.fixture
def lff(tmp_path: Path) -> Path:
    method = built("lff", "mlp", widths=(9, 9, 9), input_scale=1 / 255)
    state = network(method, "mlp", "debiased.encoder", "debiased.head", "classifier")
    torch.save(with_company(state, method), tmp_path / "model.th")
    return tmp_path / "model.th"


@pytest.mark.parametrize("words", [("evaluate", "with"), ("with", "train=False")])
def test_the_file_tells_method_and_networks(words: tuple[str, ...], command: Command, lff: Path) -> None:
    outcome = command(*words, "digits", f"checkpoint={lff}")
    assert outcome.code == 0, outcome.err
    assert "assuming method=lff; if the weights are of another method, type method=erm" in outcome.out
    assert RULE in [line.strip() for line in outcome.out.splitlines()]  # no epoch behind it
    assert " debiased " in outcome.out
    assert " biased " not in outcome.out  # its weights are not in the file
    config, result = outcome.record("config.json"), outcome.record("run.json")["result"]
    assert (config["method"]["name"], config["model"]["name"]) == ("lff", "mlp")
    assert config["model"]["hparams"] == {"widths": [9, 9, 9], "input_scale": 1 / 255}
    assert list(result) == [RULE]
    assert {name.split("/")[1] for name in result[RULE] if name.count("/") == 2} == {"debiased"}


def test_denetdm_after_its_first_stage(command: Command, tmp_path: Path) -> None:
    method = built("denetdm", "mlp_branches", width=7)
    state = prefixed("debias_branch.", network(method, "shallow mlp", "shallow", None))
    state |= prefixed("bias_branch.", network(method, "deep mlp", "deep", None))
    state |= network(method, "", "no encoder", "head", "classifier")
    torch.save(state, tmp_path / "debiased_model_stage1.th")
    outcome = command("evaluate", "with", "digits", f"checkpoint={tmp_path}")
    assert outcome.code == 0, outcome.err
    values = outcome.record("run.json")["result"][RULE]
    assert values["phase"] == "separate"
    assert values["test/accuracy"] == values["test/shallow/accuracy"]
    assert outcome.record("config.json")["method"]["hparams"]["hand_over"] is None


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["method=denetdm", "checkpoint=FILE"], "is of LfF, not of method=denetdm; type method=lff or method=erm"),
        (["checkpoint=FILE", "model.hparams.widths=[9,9]"], "has debiased.encoder.layers.2.weight and 1 more, which"),
        (["checkpoint=CUT"], "is truncated or damaged; download it again"),
        (
            ["pretrained_model_path=FILE"],
            "weights are named by checkpoint; type python main.py evaluate with ... checkpoint=FILE",
        ),
    ],
)
def test_mistakes_leave_no_record(words: list[str], found: str, command: Command, lff: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.th").write_bytes(lff.read_bytes()[:3000])
    typed = [word.replace("=FILE", f"={lff}").replace("=CUT", f"={tmp_path / 'cut.th'}") for word in words]
    outcome = command("evaluate", "with", "digits", *typed)
    assert outcome.code != 0
    assert found.replace("=FILE", f"={lff}") in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.runs == []


def test_a_run_compares_beside_others(command: Command, lff: Path) -> None:
    first = command("evaluate", "with", "digits", "method=lff", f"checkpoint={lff}").runs[0]
    outcome = command("compare", str(first), data=False)
    assert outcome.code == 0, outcome.err
    assert "as released" in outcome.out
    assert json.loads((first / "run.json").read_text())["status"] == "COMPLETED"
