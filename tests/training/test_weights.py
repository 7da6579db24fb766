"""Files of weights: what they hold, and what they can be loaded into."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from debiaslab.datasets import BiasedDataset
from debiaslab.training.checkpoint import LAST, read_checkpoint
from tests.conftest import Command
from tests.methods.building import build, short_setup, trained


@pytest.mark.parametrize("name", ["lff", "disent", "lff_be"])
@pytest.mark.parametrize("has_sample_state", [False, True])  # True: as files of older versions
def test_weights_of_a_thousand_images_are_evaluated_with_five_hundred(
    digits: BiasedDataset, data_root: Path, tmp_path: Path, name: str, has_sample_state: bool
) -> None:
    thousand, five_hundred = (replace(digits, train=digits.train.select(torch.arange(size))) for size in (1_000, 500))
    hparams: dict[str, Any] = {"ensemble_steps": 4, "ensemble_check_steps": 2} if name == "lff_be" else {}
    setup = short_setup(name, data_root, **hparams)
    method, _ = trained(setup, thousand)
    weights: dict[str, Tensor] = method.state_dict() if has_sample_state else method.weights()
    setup.save_weights(tmp_path / LAST, weights, thousand, {"step": 45})
    assert any(1_000 in tensor.shape for tensor in read_checkpoint(tmp_path / LAST)[0].values()) == has_sample_state

    other = build(setup, five_hundred)
    assert setup.load_weights(tmp_path / LAST, other, five_hundred)["step"] == 45
    image = digits.test.all_images()[:50].float() / 255
    assert torch.equal(other.eval().predict(image), method.eval().predict(image))


def test_a_run_is_evaluated_where_there_are_other_training_images(command: Command) -> None:
    """Without validation images there are more of them."""
    words = ("digits", "smoke", "method=lff")
    run = command("with", *words).runs[0]
    outcome = command("evaluate", "with", *words, "data.protocol=published", f"checkpoint={run}")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(tensor.dim() == 0 or len(tensor) < 500 for tensor in read_checkpoint(run / LAST)[0].values())
