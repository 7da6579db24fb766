from dataclasses import replace

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.datasets import BiasedDataset
from debiaslab.datasets.splits import UNKNOWN_BIAS, Split
from debiaslab.evaluation.history import Evaluation, empty_history, require_defined
from debiaslab.evaluation.selection import RULES, parse_rule


def require(data: BiasedDataset, rule: str) -> None:
    require_defined(parse_rule(rule, True, "selection"), data, "selection")


def with_bias(split: Split | None, bias: torch.Tensor) -> Split:
    assert split is not None
    return replace(split, bias=bias)


def test_every_rule_is_defined_where_all_is_known(digits: BiasedDataset) -> None:
    history = empty_history(digits)
    correct = {split: {"": total} for split, total in history.total.items()}
    evaluation = Evaluation("", 0, 0, 0, {}, correct, inferred={"correct": [3], "total": [3]})
    for name in RULES:
        require(digits, name)
        rule = parse_rule(name, True, "rule")
        assert rule.split is None or history.value(evaluation, rule) == 1  # all predictions are correct


def test_rules_without_bias_labels(digits: BiasedDataset) -> None:
    assert digits.valid is not None
    data = replace(digits, valid=with_bias(digits.valid, torch.full_like(digits.valid.bias, UNKNOWN_BIAS)))
    for rule in ("last", "best_valid_accuracy", "oracle_test_conflicting"):
        require(data, rule)
    for metric in ("unbiased", "conflicting", "worst_group"):
        message = (
            rf"selection=best_valid_{metric}: the valid images have no bias labels; use best_valid_accuracy, or las"
        )
        with pytest.raises(UserError, match=message):
            require(data, f"best_valid_{metric}")


def test_rules_without_images_of_the_group(digits: BiasedDataset) -> None:
    data = replace(digits, test=with_bias(digits.test, digits.test.target.clone()))
    for rule in ("oracle_test_aligned", "oracle_test_unbiased", "best_valid_conflicting"):
        require(data, rule)
    with pytest.raises(UserError, match=r"the test images have no such group; use oracle_test_accuracy"):
        require(data, "oracle_test_conflicting")
