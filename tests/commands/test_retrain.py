"""`retrain RUN`: the encoder of a recorded classifier with a new last layer."""

from pathlib import Path

import pytest
import torch

from debiaslab import load
from debiaslab.training.checkpoint import read_checkpoint
from tests.conftest import Command

SHORT = ("digits", "epochs=1", "evaluate_images=100")


@pytest.mark.parametrize("method", ["erm", "lff"])
def test_the_encoder_is_that_of_the_run(command: Command, method: str) -> None:
    """Of any method whose prediction is an encoder with a linear layer."""
    source = command("with", *SHORT, f"method={method}").runs[0]
    words = ("method=dfr", "method.hparams.fits=2", "method.hparams.penalties=[0.1]")
    outcome = command("retrain", source.name[:-2], "with", *words, data=False)
    assert outcome.code == 0, outcome.err
    assert "bias labels: 200 for training" in outcome.out
    record = outcome.runs[0]
    config = outcome.record("config.json")
    assert (config["start_from"], config["method"]["hparams"]["retrain_only"]) == (f"runs/{source.name}", True)
    assert outcome.record("info.json")["retrains"] == source.name
    weights, _ = read_checkpoint(record / "last.safetensors")
    before, _ = read_checkpoint(source / "selected.safetensors")
    role = {"erm": "classifier", "lff": "debiased"}[method]
    for name, tensor in before.items():
        if name.startswith(f"method/{role}.encoder."):
            assert tensor.equal(weights[name.replace(role, "classifier")]), name
    assert not before[f"method/{role}.head.weight"].equal(weights["method/classifier.head.weight"])


def test_afr_starts_at_the_last_layer_of_the_run(command: Command) -> None:
    source = command("with", *SHORT, "method=erm").runs[0]
    rate = "method.hparams.retrain_learning_rate=1e-30"
    outcome = command("retrain", str(source), "with", "method=afr", rate, "method.hparams.retrain_steps=2", data=False)
    assert outcome.code == 0, outcome.err
    image = torch.rand(5, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    before, after = load(source)(image), load(outcome.runs[0], rule="last")(image)
    torch.testing.assert_close(after, before)


def test_mistakes(command: Command) -> None:
    disent = command("with", "digits", "smoke", "method=disent").runs[0]
    for words, found in (
        (["retrain", str(disent), "with", "method=dfr"], "is not an encoder with one linear layer"),
        (["retrain", str(disent)], "no method is given; add method= with one of afr, dfr"),
        (["retrain", str(disent), "with", "method=lff"], "method=lff does not only fit the last layer"),
        (["retrain"], "which run? Write `python main.py retrain RUN with method=afr`"),
    ):
        outcome = command(*words, data=False)
        assert outcome.code == 2, words
        assert found in outcome.err
        assert len(outcome.err.splitlines()) == 1
        assert outcome.runs == []
    assert Path(disent, "run.json").exists()
