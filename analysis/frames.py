"""Recorded runs as tidy pandas frames: results, group accuracies, curves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy
import pandas

from debiaslab.analysis.records import HasConfig, Record
from debiaslab.analysis.result import summary
from debiaslab.core.errors import UserError
from debiaslab.core.settings import flatten
from debiaslab.evaluation.history import History
from debiaslab.evaluation.selection import INFERRED, Rule, parse_rule
from debiaslab.settings.declared import variant_of, without_effect_on_results


def results_frame(
    records: Iterable[Record],
    rules: Sequence[str] | None = None,
    left_out: Callable[[str], None] | None = None,
    metrics: Sequence[str] = (),
) -> pandas.DataFrame:
    """A row for each run and selection rule: the run, the selected evaluation, and `<split>/<metric>` in [0, 1].

    `rules` None: those that each run recorded at its end. Others are applied to the recorded evaluations. Runs without
    a result, or for a rule that their data does not allow, give no row. Nor do those whose evaluations are damaged, if
    they are needed: `left_out` is told why; without it, `UserError` is raised. `metrics`: those that are computed from
    the evaluations where an older run did not record them.
    """
    rows = []
    for record in records:
        try:
            results = results_by_rule(record, rules, metrics)
        except UserError as error:
            if left_out is None:
                raise
            left_out(str(error))
            continue
        facts = record_facts(record)
        for rule, values in results.items():
            names = ("phase", "epoch", "step", *_accuracies(tuple(values)))
            rows.append(facts | {"rule": rule} | {name: values[name] for name in names})
    return pandas.DataFrame(rows)


@lru_cache
def _accuracies(names: tuple[str, ...]) -> list[str]:
    """The accuracies of the prediction among the names in a summary; cached, as they are the same in many runs."""
    return sorted(name for name in names if name.count("/") == 1)


def groups_frame(records: Iterable[Record], rule: str = "last") -> pandas.DataFrame:
    """A row for each run, split, branch and (target, bias) group with images: correct, total, and accuracy in [0, 1].

    For the evaluation that `rule` selects in the last phase; a split without bias labels has bias 0 only.
    """
    rows = []
    for record in records:
        history = record.history()
        evaluations = history.of_phase(history.evaluations[-1].phase) if history.evaluations else []
        chosen = _rule_of(history, rule) if evaluations else None
        if chosen is None:
            continue
        evaluation = history.choose(evaluations, chosen)
        for split, branches in evaluation.correct.items():
            for branch in branches:
                counts = history.counts(evaluation, split, branch)
                for target, bias in numpy.argwhere(counts.total > 0).tolist():
                    correct, total = int(counts.correct[target, bias]), int(counts.total[target, bias])
                    group = {"split": split, "branch": branch, "target": target, "bias": bias}
                    counted = {"correct": correct, "total": total, "accuracy": correct / total}
                    rows.append(record_facts(record) | {"rule": rule} | group | counted)
    return pandas.DataFrame(rows)


def curves_frame(records: Iterable[Record]) -> pandas.DataFrame:
    """A row for each run, evaluation, split and branch: phase, epoch, step, and every metric in [0, 1]."""
    rows = []
    for record in records:
        history = record.history()
        for evaluation in history.evaluations:
            place = {"phase": evaluation.phase, "epoch": evaluation.epoch, "step": evaluation.step}
            for split, branches in history.metrics(evaluation).items():
                for position, (branch, metrics) in enumerate(branches.items()):
                    where = {"split": split, "branch": branch, "is_prediction": position == 0}
                    rows.append(record_facts(record) | place | where | metrics)
    return pandas.DataFrame(rows)


def record_facts(record: Record) -> dict[str, Any]:
    """The columns of all frames: the run, its start, duration and status."""
    config = dict(record.config)
    return {
        "id": record.id,
        "method": config["method"]["name"],
        "recipe": config["method"].get("recipe"),
        "data": config["data"]["name"],
        "variant": variant_of(config["data"]),
        "protocol": config["data"].get("protocol"),
        "seed": config.get("seed"),
        "status": record.status,
        "start": record.start,
        "seconds": record.seconds,
    }


def results_by_rule(
    record: Record, rules: Sequence[str] | None, metrics: Sequence[str] = ()
) -> dict[str, Mapping[str, Any]]:
    """rule -> summary (`analysis.result`): for `rules`, or None: for those that the run recorded at its end.

    Results without one of `metrics` are computed anew. The rule of evaluated weights was that of the run that trained
    them; they have no other.
    """
    recorded = dict(sorted((record.result or {}).items(), key=lambda item: (item[0] != "last", item[0])))
    if rules is None:
        return recorded
    found = {rule: recorded[rule] for rule in rules if rule in recorded}
    missing = [rule for rule in rules if rule not in recorded or not recorded[rule].keys() >= {*metrics}]
    if missing and record.result is not None and record.trained:
        history = record.history()
        phase = history.evaluations[-1].phase
        for name in missing:
            rule = _rule_of(history, name)
            if rule is not None:
                found[name] = summary(history, history.choose(history.of_phase(phase), rule))
    return {rule: found[rule] for rule in rules if rule in found}


def _rule_of(history: History, name: str) -> Rule | None:
    """The rule, or None if it needs validation images that are not evaluated, or groups of them that were not inferred.
    Raises `UserError` if it is unknown."""
    rule = parse_rule(name, True, "rule")
    if rule.split == "valid" and "valid" not in history.total:
        return None
    if rule.metric == INFERRED and not history.evaluations[-1].inferred:
        return None
    return rule


def settings_that_differ(runs: Sequence[HasConfig]) -> list[str]:
    """The dotted settings in which the runs differ, except the seed and settings that results do not depend on."""
    configs = [dict(flatten(run.config)) for run in runs]
    names = sorted({name for settings in configs for name in settings})  # MongoDB and files have different orders
    ignored = without_effect_on_results() | {"seed"}
    return [n for n in names if n not in ignored and len({repr(settings.get(n)) for settings in configs}) > 1]
