import pytest

from debiaslab.core.errors import UserError
from debiaslab.evaluation.selection import RULES, best_index, default_rule, is_better, parse_rule, without_bias

NAN = float("nan")


def test_every_rule_parses() -> None:
    for name in RULES:
        rule = parse_rule(name, has_valid=True, setting="selection")
        assert rule.name == name
        assert (rule.split is None) == (name == "last")


def test_the_test_images_are_named_where_they_choose() -> None:
    assert "chosen on test images" in parse_rule("oracle_test_unbiased", True, "selection").label
    assert parse_rule("best_valid_unbiased", True, "selection").label == "best_valid_unbiased"


@pytest.mark.parametrize(
    ("name", "has_valid", "message"),
    [
        ("best", True, "unknown rule selection='best'"),
        ("best_valid_unbaised", True, "did you mean 'best_valid_unbiased'"),
        ("best_valid_unbiased", False, "needs validation images.*data.protocol=holdout.*oracle_test_unbiased"),
    ],
)
def test_rules_that_do_not_fit(name: str, has_valid: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_rule(name, has_valid, "selection")


def test_default_rules() -> None:
    assert default_rule("holdout", knows_bias=True) == "best_valid_unbiased"
    assert default_rule("published", knows_bias=True) == "oracle_test_unbiased"
    assert default_rule("holdout", knows_bias=False) == "best_valid_accuracy"
    assert default_rule("published", knows_bias=False) == "oracle_test_accuracy"


def test_rules_without_bias_labels() -> None:
    assert without_bias("best_valid_conflicting") == "best_valid_accuracy"
    assert without_bias("best_valid_worst_class") == "best_valid_worst_class"
    assert [without_bias(name) for name in ("last", "adam")] == ["last", "adam"]


@pytest.mark.parametrize(
    ("values", "index"), [([0.1, 0.5, 0.5], 1), ([NAN, 0.2, NAN], 1), ([NAN, NAN], 1), ([0.3], 0), ([0.0, 0.0], 0)]
)
def test_ties_keep_the_earlier_and_nan_never_wins(values: list[float], index: int) -> None:
    assert best_index(values) == index


def test_is_better() -> None:
    assert is_better(0.0, None)
    assert not is_better(0.5, 0.5)
    assert not is_better(NAN, None)
