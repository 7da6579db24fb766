"""Linear decodability: what the probes find, and that measuring it changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.decodability import Decodability
from debiaslab.methods import Method
from debiaslab.settings.setup import Setup
from debiaslab.training.checkpoint import LAST, SELECTED
from debiaslab.training.loop import Options, Trained, Trainer
from tests.conftest import Command
from tests.methods.building import Watch, build, short_setup


def measured(data: BiasedDataset, features: Tensor) -> dict[str, float]:
    """What the probes find in `features` [N, F] of the test images."""
    places = iter(torch.split(features[Decodability(data).probed.index], 2_000))
    return Decodability(data).measure(lambda image: {"f": next(places)})


def test_what_is_in_the_features_is_found(digits: BiasedDataset) -> None:
    target, bias = one_hot(digits.test.target).float(), one_hot(digits.test.bias).float()
    for features, expected in (
        (target, (1, 0.1)),
        (bias, (0.1, 1)),
        (torch.cat([3 * target, 1_000 * bias], dim=1) + 5, (1, 1)),
        (torch.zeros(397, 4), (0.1, 0.1)),
    ):
        found = measured(digits, features)
        assert list(found) == ["decodability/target/f", "decodability/bias/f"]
        assert list(found.values()) == pytest.approx(expected, abs=0.1)


def test_what_varies_in_the_other_half_alone_does_no_harm(digits: BiasedDataset) -> None:
    target = one_hot(digits.test.target).float()
    dead = torch.zeros(397, 1)
    dead[Decodability(digits).probed.index[~Decodability(digits).probed.is_fitted]] = 7
    assert measured(digits, torch.cat([target, dead], dim=1))["decodability/target/f"] == 1


def test_every_group_has_the_same_weight_in_each_half(digits: BiasedDataset) -> None:
    probed = Decodability(digits).probed
    group = digits.groups(digits.test)[probed.index]
    for half in (probed.is_fitted, ~probed.is_fitted):
        sums = torch.zeros(100, dtype=torch.float64).index_add_(0, group[half], probed.weight[half])
        assert sums.tolist() == pytest.approx([1.0] * 100)


def test_unknown_bias_is_left_out(digits: BiasedDataset) -> None:
    test = replace(digits.test, bias=torch.full_like(digits.test.bias, -1))
    data = replace(digits, test=test)
    assert measured(data, one_hot(test.target).float()) == {"decodability/target/f": 1.0}


def test_features_that_are_not_finite_are_left_out(digits: BiasedDataset) -> None:
    assert measured(digits, torch.full((397, 3), float("nan"))) == {}


def fit(
    setup: Setup, data: BiasedDataset, every: int | None, watch: Watch | None = None, checkpoint: Path | None = None
) -> tuple[Method, Trained]:
    method = build(setup, data)
    options = Options(
        seed=1, selection=setup.run.selection, checkpoint=checkpoint, checkpoint_seconds=0.0, decodability=every
    )
    return method, Trainer(method, data, options, watch or Watch()).fit()


@pytest.mark.parametrize("name", ["denetdm", "lff_be", pytest.param("rebias", marks=pytest.mark.long)])
def test_it_changes_no_bit_of_training_and_resumes_exactly(
    name: str, data_root: Path, digits: BiasedDataset, tmp_path: Path
) -> None:
    setup = short_setup(name, data_root)
    plain, without = fit(setup, digits, None)
    method, whole = fit(setup, digits, 1)
    for ours, theirs in ((method.state_dict(), plain.state_dict()), (whole.selected, without.selected)):
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
    stripped = [
        replace(point, diagnostics={k: v for k, v in point.diagnostics.items() if not k.startswith("decodability")})
        for point in whole.history.evaluations
    ]
    assert stripped == without.history.evaluations

    with pytest.raises(KeyboardInterrupt):
        fit(setup, digits, 1, Watch(interrupt_at=40), tmp_path / "state.safetensors")
    again = build(setup, digits)
    resumed = Trainer(again, digits, Options(seed=1, selection=setup.run.selection, decodability=1), Watch())
    resumed.restore(tmp_path / "state.safetensors")
    assert resumed.fit().history == whole.history


def test_every_so_many_epochs_and_at_the_end(data_root: Path, digits: BiasedDataset) -> None:
    setup = short_setup("erm", data_root, epochs=5, num_steps=None)
    _, outcome = fit(setup, digits, 2)
    measured_at = [point.epoch for point in outcome.history.evaluations if point.diagnostics]
    assert measured_at == [2, 4, 5]


def test_it_is_recorded_and_leaves_the_weights(command: Command) -> None:
    words = ("with", "smoke", "method=denetdm")
    plain, measuring = (command(*words, *more).runs[0] for more in ([], ["decodability=1"]))
    for name in (LAST, SELECTED):
        assert (plain / name).read_bytes() == (measuring / name).read_bytes()
    metrics = (measuring / "metrics.json").read_text()
    assert '"separate/diagnostics/decodability/bias/deep"' in metrics
    assert '"diagnostics/decodability/target/target"' in metrics
    assert "decodability" not in (plain / "metrics.json").read_text()


def test_a_mistake_is_told(command: Command) -> None:
    outcome = command("with", "smoke", "decodability=0")
    assert (outcome.code, outcome.runs) == (2, [])
    assert outcome.err == "error: decodability=0: must be positive, or None not to measure it\n"
