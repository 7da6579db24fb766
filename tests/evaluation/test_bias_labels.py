from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from debiaslab.datasets import BiasedDataset, dataset_config
from debiaslab.datasets.splits import UNKNOWN_BIAS
from debiaslab.evaluation.bias_labels import BiasLabels, LabelFacts, count_bias_labels, label_facts
from tests.conftest import Command

FACTS = LabelFacts({"train": 1200, "valid": 200, "test": 397}, {"train": 24, "valid": 180, "test": 356}, "no bias")


@pytest.mark.parametrize(
    ("trained_with", "rules", "counts"),
    [
        ([], ["last"], (0, 0, 597)),
        ([], ["best_valid_accuracy"], (0, 0, 597)),
        ([], ["best_valid_worst_class"], (0, 0, 597)),
        ([], ["best_valid_unbiased"], (0, 200, 397)),
        (["train"], ["best_valid_unbiased"], (1200, 200, 397)),
        ([], ["last", "best_valid_conflicting"], (0, 200, 397)),
        ([], ["oracle_test_worst_group", "best_valid_accuracy"], (0, 397, 200)),
        ([], ["best_valid_train_weighted"], (0, 1400, 397)),
        (["valid"], ["last"], (200, 0, 397)),
        (["valid"], ["best_valid_unbiased"], (200, 200, 397)),
    ],
)
def test_counts(trained_with: list[str], rules: list[str], counts: tuple[int, int, int]) -> None:
    assert count_bias_labels(FACTS, trained_with, rules) == BiasLabels(*counts, "no bias")


def test_what_an_older_record_leaves_open_is_unknown() -> None:
    assert count_bias_labels(None, [], ["last"]) == BiasLabels(0, 0, None, None)
    assert count_bias_labels(None, ["train"], ["best_valid_unbiased"]) == BiasLabels(None, None, None, None)
    text = count_bias_labels(None, None, []).text()
    assert text == "bias labels: - for training, 0 for selection, - for evaluation alone; validation images: -"


@pytest.mark.parametrize(
    ("settings", "validation", "conflicting"),
    [
        ({"protocol": "holdout"}, "no bias", 180),
        ({"protocol": "iid", "skew": 0.2}, "bias of training", 40),
        ({"protocol": "published"}, "none", 0),
    ],
)
def test_the_bias_of_validation_images(
    data_root: Path, settings: dict[str, Any], validation: str, conflicting: int
) -> None:
    facts = label_facts(dataset_config({"name": "digits", "root": str(data_root), **settings}).load())
    assert facts.validation == validation
    assert (facts.conflicting.get("valid") or 0) == pytest.approx(conflicting, abs=15)


def test_another_bias_and_none_that_is_known(digits: BiasedDataset) -> None:
    assert digits.valid is not None
    usual = digits.aligned_samples(digits.valid).nonzero()[:, 0]
    half = digits.valid.select((digits.valid.target < 5).nonzero()[:, 0])
    mixed = replace(digits, valid=digits.valid.select(usual.repeat(10)[:150]))
    assert label_facts(mixed).validation == "bias of training"  # 0 % of 150, 2 % in training
    shifted = replace(half, bias=(half.target + 1) % 10)
    assert label_facts(replace(digits, valid=shifted)).validation == "another bias than training"
    unknown = replace(digits, valid=replace(half, bias=half.bias * 0 + UNKNOWN_BIAS))
    assert label_facts(unknown).validation is None
    assert label_facts(unknown).labelled["valid"] == 0


def test_a_run_records_and_tells_them(command: Command) -> None:
    outcome = command("with", "digits", "smoke", "method=erm")
    assert outcome.code == 0, outcome.err
    info = outcome.record("info.json")
    expected = {"training": 0, "selection": 200, "evaluation": 397, "validation": "no bias"}
    assert info["bias_labels"] == expected
    assert info["data"]["conflicting"] == {"train": 24, "valid": 180, "test": 356}
    assert "with best_valid_unbiased, bias labels: 0 for training, 200 for selection, 397 for ev" in outcome.out
    for rule, counts in (("last", "0 for selection, 597"), ("best_valid_unbiased", "200 for selection, 397")):
        shown = command("results", "with", f"rule={rule}", data=False)
        assert counts in " ".join(shown.out.split())
        assert counts in " ".join(command("compare", str(outcome.runs[0]), data=False).out.split())
