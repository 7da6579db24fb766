"""The bias labels used by a recorded result."""

from collections.abc import Mapping, Sequence
from typing import Any

from debiaslab.analysis.records import Record
from debiaslab.evaluation.bias_labels import BiasLabels, LabelFacts, count_bias_labels, rules_between_phases
from debiaslab.evaluation.selection import RULES
from debiaslab.methods import METHODS


def bias_labels_of(record: Record, rule: str | None) -> BiasLabels:
    """The bias labels used by the record's result under `rule` (None: without a rule, as for a curve).

    For trials of a search this includes the objective of the search.
    """
    config = record.config
    facts = _facts_of(record.info.get("data") or {})
    rules = [*rules_between_phases(config["method"]["hparams"]), *([] if rule is None else [rule])]
    objective = f"best_{str(config.get('objective')).replace('/', '_')}"
    rules += [objective] if objective in RULES else []
    method = METHODS.get(config["method"]["name"])
    return count_bias_labels(facts, None if method is None else method.labelled_splits(), rules)


def label_lines(members: Mapping[str, Sequence[Record]], rule: str | None) -> list[str]:
    """Lines for the caption of a plot: the bias labels used by the methods in `members`, grouped if equal."""
    rows: dict[str, list[str]] = {}
    for row, records in members.items():
        for text in dict.fromkeys(bias_labels_of(record, rule).text() for record in records):
            rows.setdefault(text, []).append(row)
    return [f"{', '.join(names)}: {text}" if len(members) > 1 else text for text, names in rows.items()]


def _facts_of(data: Mapping[str, Any]) -> LabelFacts | None:
    """The recorded facts about the bias in a run's data; None for older records."""
    if data.get("labelled") is None:
        return None
    return LabelFacts(data["labelled"], data.get("conflicting") or {}, data.get("validation"))
