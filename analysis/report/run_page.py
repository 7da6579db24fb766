"""A recorded run as plain values for the page: results under every rule, curves, groups, settings, environment."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy

from debiaslab.analysis.bias_labels import bias_labels_of
from debiaslab.analysis.frames import record_facts, results_by_rule
from debiaslab.analysis.records import Record
from debiaslab.analysis.report.repeat import command_line
from debiaslab.analysis.result import branches_of, oracle_settings, percent, title_of
from debiaslab.core.errors import UserError
from debiaslab.core.settings import flatten
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.evaluation.metrics import METRICS
from debiaslab.evaluation.outcomes import OUTCOME_METRICS, scale_of
from debiaslab.evaluation.selection import RULES, parse_rule

CURVES = ("conflicting", "aligned", "unbiased", "worst_group", "accuracy")
MAX_POINTS = 200  # per curve; longer ones are thinned out evenly, keeping the selected evaluations


def run_facts(record: Record) -> dict[str, Any]:
    """The facts about a run in the list of runs."""
    start = None if record.start is None else record.start.replace(microsecond=0).isoformat(" ")
    return record_facts(record) | {
        "status": record.status.lower(),
        "state": record.state,
        "evaluates": not record.trained,
        "start": start,
        "seconds": None if record.seconds is None else round(record.seconds),
        "oracle": oracle_settings(record.config),
    }


def run_page(record: Record) -> tuple[dict[str, Any], list[str]]:
    """(the page of a run, problems of reading its record)."""
    problems = []
    history = History([], {}, [])
    try:
        history = record.history()
    except UserError as error:
        if record.result is not None:
            problems.append(str(error))
    results = results_by_rule(record, RULES if history.evaluations else None)
    chosen = {rule: _evaluation_at(history, values) for rule, values in results.items()}
    data = record.info.get("data", {})
    page = {
        "title": title_of(record.config),
        "rules": {rule: _rule_result(rule, values, record) for rule, values in results.items()},
        "metrics": [*METRICS, *OUTCOME_METRICS],
        "groups": _groups(history, [evaluation for evaluation in chosen.values() if evaluation is not None]),
        "classes": data.get("classes"),
        "biases": data.get("biases"),
        "phases": _phases(history, {evaluation.step for evaluation in chosen.values() if evaluation is not None}),
        "config": [[name, repr(value)] for name, value in sorted(flatten(record.config))],
        "environment": _environment(record.info),
        "command": command_line(record),
    }
    return page, problems


def _rule_result(rule: str, values: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """Where the rule chose, the bias labels that it took, and split -> branch -> accuracies (%) as text, one for each
    of `METRICS` and `OUTCOME_METRICS`."""
    splits = sorted({name.split("/")[0] for name in values if name.count("/") == 2})
    accuracies = {
        split: {
            branch: [_shown(values, split, branch, metric) for metric in (*METRICS, *OUTCOME_METRICS)]
            for branch in sorted(branches_of(values, split))
        }
        for split in splits
    }
    label = parse_rule(rule, True, "rule").label if rule in RULES else rule
    place = {name: values.get(name) for name in ("phase", "epoch", "step")}
    place["bias_labels"] = bias_labels_of(record, rule if rule in RULES else None).text()
    return {"label": label, "oracle": rule.startswith("oracle_test_"), "accuracies": accuracies, **place}


def _shown(values: Mapping[str, Any], split: str, branch: str, metric: str) -> str:
    """The value of a metric, in percent or nats; outcome metrics are those of the prediction."""
    if metric not in OUTCOME_METRICS:
        return percent(values.get(f"{split}/{branch}/{metric}"))
    is_prediction = all(values.get(f"{split}/{branch}/{name}") == values.get(f"{split}/{name}") for name in METRICS)
    value = values.get(f"{split}/{metric}") if is_prediction else None  # a record sorts branches by name
    return "-" if value is None else f"{scale_of(metric)[0] * value:.2f}"


def _evaluation_at(history: History, values: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation of a summary."""
    phase = history.of_phase(str(values.get("phase")))
    return next((evaluation for evaluation in phase if evaluation.step == values.get("step")), None)


def _groups(history: History, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The `total` images by split and (target, bias), the bias-aligned pairs, and, by step, split and branch, the
    numbers of correct predictions and accuracies in percent (None for a group without images)."""
    by_step: dict[str, Any] = {}
    for evaluation in evaluations:
        by_step[str(evaluation.step)] = {
            split: {branch: _group_table(history, evaluation, split, branch) for branch in branches}
            for split, branches in evaluation.correct.items()
        }
    return {"total": history.total, "aligned": history.aligned, "by_step": by_step}


def _group_table(history: History, evaluation: Evaluation, split: str, branch: str) -> dict[str, Any]:
    counts = history.counts(evaluation, split, branch)
    accuracies = [[_rounded(100 * value, 1) for value in row] for row in counts.accuracies().tolist()]
    return {"correct": counts.correct.tolist(), "accuracy": accuracies}


def _phases(history: History, chosen_steps: set[int]) -> list[dict[str, Any]]:
    """For each phase: epochs and steps of its evaluations, accuracies (%) by split, branch and metric, losses and
    diagnostics by name."""
    phases = []
    for name in dict.fromkeys(evaluation.phase for evaluation in history.evaluations):
        every = history.of_phase(name)
        evaluations = _thin_out(every, chosen_steps)
        metrics = [history.metrics(evaluation) for evaluation in evaluations]
        accuracies = {
            split: {
                branch: _series([{m: 100 * point[split][branch][m] for m in CURVES} for point in metrics], 2)
                for branch in branches
            }
            for split, branches in metrics[0].items()
        }
        phases.append(
            {
                "name": name,
                "evaluations": len(every),
                "epochs": [evaluation.epoch for evaluation in evaluations],
                "steps": [evaluation.step for evaluation in evaluations],
                "accuracies": accuracies,
                "losses": _series([evaluation.losses for evaluation in evaluations], 5),
                "diagnostics": _series([evaluation.diagnostics for evaluation in evaluations], 4),
            }
        )
    return phases


def _thin_out(evaluations: Sequence[Evaluation], chosen_steps: set[int]) -> list[Evaluation]:
    size = len(evaluations)
    kept = set(numpy.linspace(0, size - 1, min(size, MAX_POINTS)).round().astype(int).tolist())
    return [
        evaluation
        for position, evaluation in enumerate(evaluations)
        if position in kept or evaluation.step in chosen_steps
    ]


def _series(points: Sequence[Mapping[str, float]], decimals: int) -> dict[str, list[float | None]]:
    """Name -> values, one per evaluation, None if missing; names without any value are left out."""
    names = dict.fromkeys(name for point in points for name in point)
    series = {name: [_rounded(point.get(name), decimals) for point in points] for name in names}
    return {name: values for name, values in series.items() if any(value is not None for value in values)}


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None or not isfinite(value) else round(value, decimals)


def _environment(info: Mapping[str, Any]) -> list[list[str]]:
    """[name, value] of the facts about code, machine and data, without class names, which are with the groups."""
    data = {name: value for name, value in info.get("data", {}).items() if name not in ("classes", "biases")}
    facts = flatten({**info, "data": data})
    return [
        [name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)] for name, value in sorted(facts)
    ]
