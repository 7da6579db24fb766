"""Count the bias labels that a result has used: in training, for checkpoint selection, and in evaluation only.

A fair comparison of methods needs equal labels. Labels of training images that are only used for recorded diagnostics
(`diagnostics.py`) are not counted: no result depends on them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debiaslab.datasets import BiasedDataset, Split
from debiaslab.evaluation.metrics import WITHOUT_BIAS
from debiaslab.evaluation.selection import INFERRED, RULES, parse_rule

# how biased the validation images are, by the fraction of conflicting ones
ABSENT, UNBIASED, AS_TRAINING, OTHERWISE = "none", "no bias", "bias of training", "another bias than training"
VALIDATIONS = (ABSENT, UNBIASED, AS_TRAINING, OTHERWISE)
STANDARD_ERRORS = 3  # tolerance for a fraction to count as the expected one


@dataclass(frozen=True)
class LabelFacts:
    """`labelled`: split -> number of its images whose bias is known; `conflicting`: how many of them are, if
    known; `validation`: one of `VALIDATIONS`, or None if the labels do not determine it."""

    labelled: Mapping[str, int]
    conflicting: Mapping[str, int | None]
    validation: str | None


@dataclass(frozen=True)
class BiasLabels:
    """Numbers of images whose bias labels are used in training, by selection rules, and in evaluation only.

    None if unknown. `validation` as in `LabelFacts`.
    """

    training: int | None
    selection: int | None
    evaluation: int | None
    validation: str | None

    def text(self) -> str:
        numbers = {"training": self.training, "selection": self.selection, "evaluation alone": self.evaluation}
        counts = [f"{'-' if number is None else f'{number:,}'} for {name}" for name, number in numbers.items()]
        return f"bias labels: {', '.join(counts)}; validation images: {self.validation or '-'}"


def label_facts(data: BiasedDataset) -> LabelFacts:
    """Facts about the bias labels of each split of `data`."""
    labelled, conflicting = {}, {}
    for name, split in data.splits().items():
        labelled[name] = len(split) if split.has_bias else 0
        tells = data.tells_conflicting(split)
        conflicting[name] = int((~data.aligned_samples(split)).sum()) if tells else None
    return LabelFacts(labelled, conflicting, _validation(data))


def count_bias_labels(facts: LabelFacts | None, trained_with: Sequence[str] | None, rules: Iterable[str]) -> BiasLabels:
    """The bias labels used by a run whose weights are selected by `rules`, including those between phases.

    `trained_with`: the splits whose labels its method is trained with. Numbers that depend on a None argument are None,
    unless no label was used.
    """
    read = {split for rule in rules for split in splits_read(rule)}
    if facts is None:
        return BiasLabels(None if trained_with != [] else 0, None if read else 0, None, None)
    labelled = facts.labelled
    training = None if trained_with is None else sum(labelled.get(split, 0) for split in trained_with)
    selection = sum(labelled.get(split, 0) for split in read)
    used = {"train", *read, *(trained_with or [])}
    evaluation = sum(number for split, number in labelled.items() if split not in used)
    return BiasLabels(training, selection, evaluation, facts.validation)


def splits_read(rule: str) -> set[str]:
    """The splits whose bias labels a rule uses."""
    parsed = parse_rule(rule, True, "rule")
    if parsed.split is None or parsed.metric is None or parsed.metric in (*WITHOUT_BIAS, INFERRED):
        return set()
    return {parsed.split, *(["train"] if parsed.metric == "train_weighted" else [])}


def rules_between_phases(hparams: Mapping[str, Any]) -> list[str]:
    """The selection rules among the hyper-parameters of a method, for hand-over or the members of an ensemble."""
    return [value for value in hparams.values() if isinstance(value, str) and value in RULES]


def _validation(data: BiasedDataset) -> str | None:
    if data.valid is None:
        return ABSENT
    if not (data.tells_conflicting() and data.tells_conflicting(data.valid)):
        return None
    size, found = len(data.valid), _conflicting_share(data, data.valid)
    for kind, expected in ((AS_TRAINING, _conflicting_share(data, data.train)), (UNBIASED, _independent_share(data))):
        error = (expected * (1 - expected) / size) ** 0.5
        if abs(found - expected) <= STANDARD_ERRORS * error + 1 / size:
            return kind
    return OTHERWISE


def _conflicting_share(data: BiasedDataset, split: Split) -> float:
    return 1 - float(data.aligned_samples(split).double().mean())


def _independent_share(data: BiasedDataset) -> float:
    """The fraction of conflicting validation images if bias and target were independent."""
    assert data.valid is not None
    targets = data.valid.target.bincount(minlength=data.num_classes).double() / len(data.valid)
    biases = data.valid.bias.bincount(minlength=data.num_biases).double() / len(data.valid)
    usual = data.aligned_groups().to(targets.device).double()
    return 1 - float(targets @ usual @ biases)
