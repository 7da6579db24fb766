"""Networks, weights and recipes as a user chooses them on the command line."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch

from debiaslab.core.vision import torchvision
from debiaslab.models.pretrained import published_state
from debiaslab.training.checkpoint import read_checkpoint
from tests.conftest import Command
from tests.test_command_line import settings

SHORT = ("method=erm", "model=resnet18", "num_steps=1", "evaluate_images=40", "method.hparams.batch_size=8")

WIDTHS = "model.hparams.widths=[20,10]"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(torchvision("models").resnet18(weights=None).state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_the_record_names_the_weights_and_evaluation_needs_none(command: Command, weights: Path) -> None:
    trained = command("with", *SHORT, f"model.pretrained={weights}")
    (folder,) = trained.runs
    assert trained.record("config.json")["model"]["pretrained"] == str(weights)
    random = command("with", *SHORT)
    assert random.record("config.json")["model"]["pretrained"] == "none"
    assert (random.runs[0] / "last.safetensors").read_bytes() != (folder / "last.safetensors").read_bytes()
    weights.unlink()
    published_state.cache_clear()
    for pretrained in (str(weights), "none"):
        outcome = command("evaluate", "with", *SHORT, f"checkpoint={folder}", f"model.pretrained={pretrained}")
        assert outcome.code == 0, outcome.err
        expected = trained.record("run.json")["result"]["last"]
        assert outcome.record("run.json")["result"]["last"] == expected
    missing = command("with", *SHORT, f"model.pretrained={weights}")
    assert (missing.code, missing.runs) == (2, [])
    assert missing.err.startswith(f"error: no file {weights}; model.pretrained is imagenet, none, a file")


def test_weights_that_cannot_be_downloaded_end_the_run_before_it_starts(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    published_state.cache_clear()
    outcome = command("with", *SHORT, "model.pretrained=imagenet")
    assert (outcome.code, outcome.out, outcome.runs) == (2, "", [])
    assert outcome.err.startswith("error: cannot download the ImageNet weights (")
    assert outcome.err.endswith("or train from scratch with model.pretrained=none\n")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=erm", "model.pretrained=imagenet"], "model.pretrained=imagenet: model mlp has no network that takes"),
        (
            ["method=erm", "model=resnet18", "model.pretrained=None"],
            "model.pretrained=None: model.pretrained is imagenet",
        ),
        (["method=erm", "model.pretraned=none"], "unknown setting 'model.pretraned'; did you mean 'pretrained'?"),
        (
            ["model=conv_branches"],
            "model ConvBranches needs images of at least 42x42 pixels for its 'shallow' network",
        ),
        (["method=erm", "model=resnet18_3d"], "model ResNet3D takes clips, and the data set has images;"),
        (["method=erm", "model=resnet18_bagnet18"], "model ResNet18BagNet18 has no 'classifier' network, it has f, g;"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(command: Command, words: list[str], message: str) -> None:
    outcome = command("with", "smoke", *words)
    assert (outcome.code, outcome.out, outcome.runs) == (2, "", [])
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["skewed4"], {"learning_rate": "0.0005", "lambda_dis_align": "1.0", "lambda_swap_align": "1.0"}),
        (["skewed3"], {"learning_rate": "0.001", "lambda_dis_align": "5.0", "lambda_swap_align": "5.0"}),
        (["skewed1"], {"learning_rate": "0.001", "lambda_dis_align": "1.0"}),
        (["skewed4", "num_steps=5000"], {"learning_rate": "0.0005", "curr_step": "1000"}),
        (["skewed4", "method.hparams.learning_rate=0.1"], {"learning_rate": "0.1", "lambda_dis_align": "1.0"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_print_config_shows_the_settings_for_the_percentage(
    command: Command, words: list[str], expected: dict[str, str]
) -> None:
    values = settings(command("print_config", "with", "data=corrupted_cifar10", "method=disent", *words))
    assert {name: values[f"method.hparams.{name}"] for name in expected} == expected
    assert (values["model.name"], values["model.pretrained"]) == ("'resnet18'", "'none'")


def test_print_config_shows_the_weights_of_the_recipe(command: Command) -> None:
    words = ("print_config", "with", "data=bffhq", "method=denetdm")
    assert settings(command(*words))["model.pretrained"] == "'imagenet'"
    assert settings(command(*words, "model.pretrained=none"))["model.pretrained"] == "'none'"
    assert settings(command(*words, "model=mlp_branches"))["model.pretrained"] == "'none'"
    short = settings(command(*words, "epochs=1"))
    assert (short["method.hparams.epochs"], short["method.hparams.distill_epochs"]) == ("1", "10")


def test_the_encoder_of_a_recorded_classifier(command: Command) -> None:
    """LfF's debiased network; a step that changes nothing leaves its weights."""
    short = ("digits", "smoke", "evaluate_images=40")
    (source,) = command("with", *short, "method=lff", WIDTHS).runs
    words = ("with", *short, "method=erm", "num_steps=1", "method.hparams.learning_rate=1e-30", WIDTHS)
    outcomes = [command(*words, f"model.pretrained={named}") for named in (source.name, f"runs/{source.name}")]
    expected, _ = read_checkpoint(source / "selected.safetensors")
    prefix = "method/debiased.encoder."
    for outcome in outcomes:
        assert outcome.code == 0, outcome.err
        assert outcome.record("info.json")["pretrained_run"] == source.name
        found, _ = read_checkpoint(outcome.runs[0] / "last.safetensors")
        for name in (name for name in expected if name.startswith(prefix)):
            own = found[name.replace(prefix, "method/classifier.encoder.")]
            torch.testing.assert_close(own, expected[name], rtol=0, atol=1e-12)
    assert outcomes[0].record("config.json")["model"]["pretrained"] == source.name

    other = command(*words[:-1], "model.hparams.widths=[5]", f"model.pretrained={source.name}")
    assert (other.code, other.runs) == (2, [])
    assert other.err.startswith(
        f"error: model.pretrained={source.name}: the encoder of its classifier is another than the 'classifier'"
        " network, it has unexpected layers.1.weight and 1 more, has another shape of layers.0.weight and 1 more;"
    )
    assert other.err.count("\n") == 1


def test_runs_that_have_no_single_encoder(command: Command) -> None:
    (source,) = command("with", "digits", "smoke", "evaluate_images=40", "method=disent").runs
    for name, message in (
        (source.name, f"the classifier of the run {source.name} has 2 encoders; name a run whose classifier has one ("),
        ("20261130-000000-abcd", "no recorded run '20261130-000000-abcd'"),
    ):
        outcome = command("with", "digits", "smoke", "method=erm", f"model.pretrained={name}")
        assert (outcome.code, outcome.runs) == (2, [])
        assert outcome.err.startswith(f"error: model.pretrained={name}: {message}")
        assert outcome.err.count("\n") == 1
