"""Rules that select one evaluation of a run. Runs record all evaluations; tables name the rule they use.

The rules are `last`, `best_valid_<metric>` and `oracle_test_<metric>`. The latter selects on the test images, as some
papers do; it is for comparison with them, and is labelled wherever it is shown. `best_valid_inferred` needs no bias
labels: it compares the worst of the groups that the method itself has found among the validation images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from debiaslab.core.errors import UserError, one_of, suggestion
from debiaslab.evaluation.metrics import RULE_METRICS, WITHOUT_BIAS

CHOSEN_ON_TEST = "(chosen on test images)"  # follows the name of such a rule
PREFIXES = {"best_valid_": "valid", "oracle_test_": "test"}
INFERRED = "inferred"  # the metric of a rule: the accuracy of the worst inferred group
BEST_INFERRED = f"best_valid_{INFERRED}"
RULES = ["last", *(prefix + metric for prefix in PREFIXES for metric in RULE_METRICS), BEST_INFERRED]


@dataclass(frozen=True)
class Rule:
    """A selection rule; `split` and `metric` are None for `last`."""

    name: str
    split: str | None
    metric: str | None

    @property
    def label(self) -> str:
        """The name for display, with a warning if the rule selects on test images."""
        return f"{self.name} {CHOSEN_ON_TEST}" if self.split == "test" else self.name


def default_rule(protocol: str, knows_bias: bool) -> str:
    """The default rule of a protocol."""
    rule = "oracle_test_unbiased" if protocol == "published" else "best_valid_unbiased"
    return rule if knows_bias else without_bias(rule)


def without_bias(rule: str) -> str:
    """`rule`, with accuracy instead of a metric that needs bias labels."""
    prefix = next((prefix for prefix in PREFIXES if rule.startswith(prefix)), None)
    return rule if prefix is None or rule.removeprefix(prefix) in WITHOUT_BIAS else f"{prefix}accuracy"


def parse_rule(name: str, has_valid: bool, setting: str) -> Rule:
    """Parse the rule `name`. Raises `UserError`, naming `setting`, for an unknown rule, or one that needs validation
    images if there are none."""
    if name not in RULES:
        raise UserError(
            f"unknown rule {setting}={name!r}{suggestion(str(name), RULES)} one of last,"
            f" {BEST_INFERRED}, best_valid_METRIC, oracle_test_METRIC with METRIC one of {one_of(RULE_METRICS)}"
        )
    for prefix, split in PREFIXES.items():
        if name.startswith(prefix):
            if split == "valid" and not has_valid:
                raise UserError(
                    f"{setting}={name} needs validation images, and this data has none;"
                    " use data.protocol=holdout, or the rule last or oracle_test_" + name.removeprefix(prefix)
                )
            return Rule(name, split, name.removeprefix(prefix))
    return Rule(name, None, None)


def is_better(value: float, best: float | None) -> bool:
    """Whether `value` replaces `best`: ties keep the earlier one, NaN never wins."""
    return not isnan(value) and (best is None or value > best)


def best_index(values: Sequence[float]) -> int:
    """The index of the best of `values`, one per evaluation; the last index if all are NaN."""
    best, index = None, len(values) - 1
    for position, value in enumerate(values):
        if is_better(value, best):
            best, index = value, position
    return index
