from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.methods import METHODS
from debiaslab.methods.bias_ensemble import BiasEnsemble
from debiaslab.methods.disent import DisEnt
from debiaslab.methods.lff import LfF
from debiaslab.recording.configuration import configuration
from debiaslab.settings.setup import Setup
from debiaslab.training.batches import Batches
from tests.methods.building import Watch, build, short_setup, trained, trainer


def ensemble(method: str, digits: BiasedDataset, data_root: Path, **hparams: Any) -> BiasEnsemble:
    return ensemble_of(short_setup(method, data_root, **hparams), digits)


def ensemble_of(setup: Setup, digits: BiasedDataset) -> BiasEnsemble:
    method = build(setup, digits)
    assert isinstance(method, BiasEnsemble)
    return method


@torch.no_grad()
def votes_of(method: BiasEnsemble, digits: BiasedDataset, confidence: float) -> Tensor:
    probabilities: Tensor = method.classifier(as_input(digits.train.all_images())).softmax(dim=1)
    return probabilities[torch.arange(len(digits.train)), digits.train.target] > confidence


@pytest.mark.parametrize(("name", "inner"), [("lff_be", LfF), ("disent_be", DisEnt)])
def test_it_is_a_selection_around_the_method_itself(
    digits: BiasedDataset, data_root: Path, name: str, inner: type[LfF] | type[DisEnt]
) -> None:
    method = ensemble(name, digits, data_root)
    assert type(method.inner) is inner
    names = [phase.name for phase in method.phases()]
    assert names == ["bias_1", "bias_2", "bias_3", "bias_4", "bias_5", "train"]


def test_each_classifier_starts_anew(digits: BiasedDataset, data_root: Path) -> None:
    method = ensemble("lff_be", digits, data_root)
    starts = []
    for number, phase in enumerate(method.phases()[:-1]):
        starts.append(method.classifier.head.weight.detach().clone())
        assert len(method.optimizer.state) == 0
        batches = Batches(digits, phase, 1, False)
        phase.update(next(batches.from_step(0)))
        assert len(method.optimizer.state) > 0
        assert int(method.voters) == number
        assert method.sample_notes().conflicting is None
        phase.finish(batches.in_order())
    assert len({start.sum().item() for start in starts}) == 5
    assert len(method.optimizer.state) == 0
    assert method.sample_notes().conflicting is not None


def test_kept_are_the_samples_with_enough_votes(digits: BiasedDataset, data_root: Path) -> None:
    """The votes are those of the weights with the best validation accuracy among the evaluated ones."""
    settings: dict[str, Any] = {"ensemble_steps": 30, "ensemble_check_steps": 12, "ensemble_confidence": 0.3}
    setup = short_setup("lff_be", data_root, learning_rate=0.01, num_steps=2, **settings)
    method = ensemble_of(setup, digits)
    found: dict[str, list[tuple[float, Tensor]]] = {}

    class Voting(Watch):
        def evaluated(self, history: History, evaluation: Evaluation) -> None:
            super().evaluated(history, evaluation)
            votes = votes_of(method, digits, 0.3)
            accuracy = history.counts(evaluation, "valid").metrics()["accuracy"]
            found.setdefault(evaluation.phase, []).append((accuracy, votes))

    watch = Voting()
    trainer(setup, method, digits, watch).fit()
    steps = [evaluation.phase_step for evaluation in watch.evaluations if evaluation.phase == "bias_1"]
    assert steps == [1, 13, 25]
    best = [max(found[f"bias_{number}"], key=lambda pair: pair[0])[1] for number in range(1, 6)]
    votes = torch.stack(best).sum(dim=0)
    assert torch.equal(method.votes, votes.to(torch.uint8))
    kept = method.sample_notes().kept
    assert kept is not None
    assert torch.equal(kept, votes >= 3)
    assert 0 < int(kept.sum()) < len(kept)
    taken = method.sample_notes().conflicting
    assert taken is not None
    assert torch.equal(taken, ~kept)


def test_published_classifiers_are_evaluated_after_updates_1_and_501(digits: BiasedDataset, data_root: Path) -> None:
    method = build(short_setup("lff_be", data_root, ensemble_steps=1_000, ensemble_check_steps=500), digits)
    assert list(method.phases()[0].evaluation_steps or []) == [1, 501]
    assert METHODS["lff_be"].Config().rules() == {"ensemble_selection": "best_valid_accuracy"}


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("digits",), "best_valid_accuracy"),
        (("digits", "published"), "oracle_test_accuracy"),  # without validation images
        (("bffhq", "published"), "auto"),  # whether there is a folder `valid` is known when it is read
        (("cmnist", "published"), "auto"),
        (("bar", "pct1", "published"), "best_valid_accuracy"),
        (("bar", "pct0", "published"), "auto"),
    ],
)
def test_classifiers_are_chosen_on_validation_images_where_there_are_some(words: tuple[str, ...], rule: str) -> None:
    config = configuration(ex, [*words, "method=lff_be"])
    assert config["method"]["hparams"]["ensemble_selection"] == rule


def test_the_selection_is_the_same_whatever_the_inner_method(digits: BiasedDataset, data_root: Path) -> None:
    settings: dict[str, Any] = {"ensemble_steps": 10, "ensemble_check_steps": 4, "ensemble_confidence": 0.15}
    one, _ = trained(short_setup("lff_be", data_root, learning_rate=0.01, num_steps=2, **settings), digits)
    other, _ = trained(short_setup("disent_be", data_root, learning_rate=0.01, num_steps=2, **settings), digits)
    assert isinstance(one, BiasEnsemble)
    assert isinstance(other, BiasEnsemble)
    assert torch.equal(one.votes, other.votes)
    assert one.votes.min() < one.votes.max()


@pytest.mark.parametrize("name", ["lff_be", "disent_be"])
def test_a_selection_that_keeps_nothing_stays_finite(digits: BiasedDataset, data_root: Path, name: str) -> None:
    settings: dict[str, Any] = {"ensemble_steps": 1, "ensemble_check_steps": 1, "ensemble_confidence": 0.999}
    method, outcome = trained(short_setup(name, data_root, **settings), digits)
    kept = method.sample_notes().kept
    assert kept is not None
    assert not kept.any()
    assert all(torch.isfinite(tensor).all() for tensor in method.state_dict().values())
    biased = "biased" if name == "lff_be" else "dis_align"
    assert outcome.history.evaluations[-1].losses[biased] == 0


def test_wrong_settings_are_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match="ensemble_votes=6: must be 1 to ensemble_size=5"):
        short_setup("lff_be", data_root, ensemble_votes=6)
    with pytest.raises(UserError, match=r"method\.hparams\.ensemble_selection='best'"):
        short_setup("lff_be", data_root, ensemble_selection="best")
