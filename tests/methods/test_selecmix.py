from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.methods.selecmix import LfFSelecMix, SelecMix, contradicting_partners, contrastive_loss
from debiaslab.models.mlp import MLP
from tests.methods.building import build, first_batches, short_setup

TARGET = torch.tensor([0, 0, 0, 1, 1, 2])
SIMILARITY = torch.tensor(
    [
        [1.0, 0.9, -0.5, 0.8, 0.1, 0.2],
        [0.9, 1.0, 0.7, -0.3, -0.2, -0.1],
        [-0.5, 0.7, 1.0, 0.3, 0.4, 0.0],
        [0.8, -0.3, 0.3, 1.0, 0.2, 0.6],
        [0.1, -0.2, 0.4, 0.2, 1.0, 0.5],
        [0.2, -0.1, 0.0, 0.6, 0.5, 1.0],
    ]
)


def test_partners_contradict() -> None:
    """The least similar one of the class (itself, if it is alone), or the most similar one of other classes."""
    assert contradicting_partners(SIMILARITY, TARGET, same_class=True).tolist() == [2, 2, 0, 4, 3, 5]
    assert contradicting_partners(SIMILARITY, TARGET, same_class=False).tolist() == [3, 5, 4, 0, 5, 3]


def test_contrastive_loss_by_hand() -> None:
    features = normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = 0.0
    for anchor in range(6):
        others = [other for other in range(6) if other != anchor]
        exponents = {other: float((features[anchor] @ features[other] / 0.2).exp()) for other in others}
        positives = [other for other in others if TARGET[other] == TARGET[anchor]]
        for other in positives:
            p = torch.tensor(exponents[other] / sum(exponents.values()))
            expected -= float(0.7 * p**0.7 * p.log()) / len(positives) / 6
    assert float(contrastive_loss(features, TARGET, 0.2, 0.7)) == pytest.approx(expected, rel=1e-4)


def test_a_mixture_is_mostly_its_partner_and_has_its_target(digits: BiasedDataset, data_root: Path) -> None:
    method = build(short_setup("selecmix", data_root), digits)
    assert isinstance(method, SelecMix)
    (batch,) = first_batches(method, digits, 1)
    share = torch.linspace(0, 0.5, len(batch.index))
    mixed = method.mix_with(batch, False, share)
    assert (mixed.target != batch.target).all()
    assert any(torch.equal(mixed.image[0], image) for image in batch.image)
    parts = method.cut(batch)
    assert torch.cat(list(parts)).sort().values.tolist() == list(range(len(batch.index)))
    assert len(parts) == 4
    assert [len(part) for part in method.cut(replace(batch, index=batch.index[:5]))] == [2, 2]
    drawn = [method.mix(batch).target.eq(batch.target).all().item() for batch in first_batches(method, digits, 12)]
    assert 0 < sum(drawn) < 12  # of one kind in a batch


def test_contrastive_features_differ_however_small_the_inputs(digits: BiasedDataset, data_root: Path) -> None:
    """Else no partner would contradict anything: on Colored MNIST, LfF's network divides by 255 twice."""
    setup = short_setup("selecmix", data_root, batch_size=256)
    assert isinstance(setup.model, MLP)
    method = build(replace(setup, model=replace(setup.model, input_scale=1 / 255)), digits)
    assert isinstance(method, SelecMix)
    *batches, last = first_batches(method, digits, 40)
    for batch in batches:
        method.update(batch)
    assert method.project(last.image).std(0).mean() > 0.03


def test_without_mixtures_it_is_lff(digits: BiasedDataset, data_root: Path) -> None:
    setup = short_setup("lff_selecmix", data_root, mixed_weight=0.0, mini_batches=1)
    method = build(setup, digits)
    lff = build(short_setup("lff", data_root, learning_rate=setup.method_config.learning_rate), digits)
    assert isinstance(method, LfFSelecMix)
    lff.load_state_dict(
        {
            **lff.state_dict(),
            **renamed(method.classifier.state_dict(), "debiased"),
            **renamed(method.biased.state_dict(), "biased"),
        }
    )
    for batch in first_batches(lff, digits, 8):
        ours, theirs = method.update(batch), lff.phases()[0].update(batch)
        assert float(ours["biased"]) == pytest.approx(float(theirs["biased"]), rel=1e-4)
        assert float(ours["plain"]) == pytest.approx(float(theirs["debiased"]), rel=1e-4)


def renamed(state: dict[str, torch.Tensor], network: str) -> dict[str, torch.Tensor]:
    return {f"{network}.{name}": tensor for name, tensor in state.items()}


def test_wrong_settings_are_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match="mini_batches=0: must be positive"):
        short_setup("selecmix", data_root, mini_batches=0)
    with pytest.raises(UserError, match="contrastive_optimizer='lars': must be one of"):
        short_setup("selecmix", data_root, contrastive_optimizer="lars")
