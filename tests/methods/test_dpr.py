from pathlib import Path

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.inputs import as_input
from debiaslab.methods.dpr import DPR
from debiaslab.training.batches import Batches
from tests.methods.building import NUM_STEPS, build, first_batches, short_setup


def test_the_second_training_draws_what_the_biased_network_disagrees_with(
    digits: BiasedDataset, data_root: Path
) -> None:
    """By 1 - p(y | x), from the weights of the biased network."""
    method = build(short_setup("dpr", data_root, tau=2.0), digits)
    assert isinstance(method, DPR)
    biased, second = method.phases()
    for batch in first_batches(method, digits, NUM_STEPS, phase=0):
        biased.update(batch)
    assert not torch.equal(method.biased.head.weight, method.classifier.head.weight)
    assert method.sample_notes().conflicting is None
    biased.finish(Batches(digits, biased, 1, False).in_order())
    assert torch.equal(method.biased.head.weight, method.classifier.head.weight)
    with torch.no_grad():
        logits = method.eval().biased(as_input(digits.train.all_images()))
    own = (logits / 2).softmax(dim=1)[torch.arange(len(logits)), digits.train.target]
    torch.testing.assert_close(method.disagreement, 1 - own, atol=1e-6, rtol=1e-4)

    drawn = torch.cat([plan.index for plan in Batches(digits, second, 1, False).plans(0)])
    conflicting = ~digits.aligned_samples(digits.train)
    share = float((1 - own)[conflicting].sum() / (1 - own).sum())
    assert share > 1.5 * float(conflicting.float().mean())
    assert float(conflicting[drawn].float().mean()) == pytest.approx(share, abs=0.05)
    notes = method.sample_notes()
    assert notes.weight is not None
    assert notes.conflicting is not None
    assert float(notes.weight.mean()) == pytest.approx(1)
    assert torch.equal(notes.conflicting, method.disagreement > 0.5)


def test_one_length_of_the_first_training(data_root: Path) -> None:
    with pytest.raises(UserError, match="biased_epochs=5: must be left out, or biased_steps"):
        short_setup("dpr", data_root, biased_steps=5, biased_epochs=5)
    with pytest.raises(UserError, match=r"tau=0\.0: must be positive"):
        short_setup("dpr", data_root, tau=0.0)
