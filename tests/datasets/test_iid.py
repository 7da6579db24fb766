"""The protocol `iid`: validation images are a random share of the training images, whatever their bias."""

from pathlib import Path
from typing import Any

import pytest

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset, dataset_config
from debiaslab.datasets.groups import with_iid_validation
from tests.conftest import Command


def load(root: Path, **settings: Any) -> BiasedDataset:
    return dataset_config({"name": "digits", "root": str(root), **settings}).load()


def test_training_images_are_shared_out(data_root: Path) -> None:
    iid, published = load(data_root, protocol="iid"), load(data_root, protocol="published")
    assert iid.valid is not None
    parts = [iid.train, iid.valid]
    images = sorted(bytes(image.numpy()) for part in parts for image in part.all_images())
    assert images == sorted(bytes(image.numpy()) for image in published.train.all_images())
    assert iid.test.all_images().equal(published.test.all_images())
    assert 190 <= len(iid.valid) <= 200


def test_they_have_the_bias_of_the_training_images(data_root: Path) -> None:
    for skew in (0.1, 0.5):
        data = load(data_root, protocol="iid", skew=skew)
        assert data.valid is not None
        conflicting = 1 - data.aligned_samples(data.valid).float().mean()
        assert float(conflicting) == pytest.approx(skew, abs=3 * (skew * (1 - skew) / len(data.valid)) ** 0.5)


def test_the_split_is_a_function_of_the_data_s_seed(data_root: Path) -> None:
    first, again, other = (load(data_root, protocol="iid", seed=seed) for seed in (0, 0, 1))
    assert first.train.all_images().equal(again.train.all_images())
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert not first.train.target.equal(other.train.target)


def test_no_default_rule_reads_bias_labels(command: Command) -> None:
    outcome = command("with", "digits", "data.protocol=iid", "method=lff_be", "epochs=1", "num_steps=None")
    assert outcome.code == 0, outcome.err
    config = outcome.record("config.json")
    assert config["selection"] == "best_valid_accuracy"
    assert config["method"]["hparams"]["ensemble_selection"] == "best_valid_accuracy"


@pytest.mark.parametrize("rule", ["last", "best_valid_worst_class", "best_valid_unbiased"])
def test_rules(command: Command, rule: str) -> None:
    outcome = command("with", "digits", "smoke", "data.protocol=iid", f"selection={rule}")
    assert outcome.code == 0, outcome.err
    assert rule in outcome.record("run.json")["result"]


def test_too_few_images(digits: BiasedDataset) -> None:
    for share in (0.0, 1.0):
        few = BiasedDataset(
            "few", digits.train.select(digits.train.target.argsort()[:2]), None, digits.test, 10, 10, ""
        )
        with pytest.raises(UserError, match=r"data\.protocol=iid: few has too few training images"):
            with_iid_validation(few, share, 0)
