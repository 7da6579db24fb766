"""The result of a run as plain values and as tables."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from rich.table import Table

from debiaslab.core.console import new_table
from debiaslab.evaluation.history import Evaluation, History
from debiaslab.evaluation.metrics import METRICS
from debiaslab.evaluation.selection import CHOSEN_ON_TEST, Rule
from debiaslab.settings.declared import variant_of

COLUMNS = {
    "unbiased": "unbiased",
    "aligned": "aligned",
    "conflicting": "conflicting",
    "worst_group": "worst group",
    "accuracy": "all images",
}
GAP_COLUMNS = {  # shown where they are defined
    "id_accuracy": "in distribution",
    "bg_gap": "BG gap",
    "co_obj_gap": "CoObj gap",
    "bg_co_obj_gap": "BG+CoObj gap",
}


def result_of(history: History, phase: str, rule: Rule) -> dict[str, Any]:
    """The accuracies of the phase's evaluations selected by `last` and by `rule`, in [0, 1]; None if undefined."""
    evaluations = history.of_phase(phase)
    rows = {"last": evaluations[-1], rule.name: history.choose(evaluations, rule)}
    return {name: summary(history, evaluation) for name, evaluation in rows.items()}


def summary(history: History, evaluation: Evaluation) -> dict[str, Any]:
    """The position of the evaluation, `<split>/<branch>/<metric>` and, for the prediction, `<split>/<metric>`."""
    values: dict[str, Any] = {"phase": evaluation.phase, "epoch": evaluation.epoch, "step": evaluation.step}
    for split, branches in history.metrics(evaluation).items():
        for position, (branch, metrics) in enumerate(branches.items()):
            for metric, value in metrics.items():
                values[f"{split}/{branch}/{metric}"] = None if isnan(value) else value
                if position == 0:
                    values[f"{split}/{metric}"] = None if isnan(value) else value
    for split, metrics in history.outcome_metrics(evaluation).items():
        values |= {f"{split}/{metric}": None if isnan(value) else value for metric, value in metrics.items()}
    return values


def title_of(config: Mapping[str, Any]) -> str:
    """Method and data of a run, from its configuration, and whether a phase's weights were selected on test images."""
    data, method = config["data"], config["method"]
    notes = [*limited_evaluation(config), *chosen_on_test(config)]
    parts = [f"{method['name']} on {data['name']}", variant_of(data), data["protocol"], *notes]
    return ", ".join(part for part in parts if part)


def limited_evaluation(config: Mapping[str, Any], column: str = "") -> list[str]:
    """A note if a run was evaluated on a limited number of images, unless the name of its `column` says so."""
    limit = config.get("evaluate_images")
    return [f"evaluated on {limit} images of each split"] if limit and "evaluate_images" not in column else []


def chosen_on_test(config: Mapping[str, Any]) -> list[str]:
    """The rules between the phases of a method that select on test images, labelled."""
    return [f"{rule} {CHOSEN_ON_TEST}" for rule in oracle_settings(config)]


def oracle_settings(config: Mapping[str, Any]) -> list[str]:
    """The method's settings that select weights of a phase on test images: "hand_over oracle_test_..."."""
    hparams = config["method"]["hparams"]
    return [f"{name} {value}" for name, value in sorted(hparams.items()) if str(value).startswith("oracle_test_")]


def accuracy_tables(result: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> list[Table]:
    """Test accuracies in percent, one table per rule: a row for each branch, with the prediction in bold.

    Below them, the accuracies of the prediction on each extra split. Metrics that are undefined in all rows are left
    out; the caption of the last table explains why. `labels` are the display names of the rules.
    """
    tables = []
    for name, values in result.items():
        place = "" if values["epoch"] is None else f", {values['phase']} epoch {values['epoch']}"
        table = new_table(labels.get(name, name) + place)
        table.add_column("test (%)", no_wrap=True)
        rows = {branch: f"test/{branch}" for branch in branches_of(values, "test")}
        extra = extra_splits(values)
        names = COLUMNS | GAP_COLUMNS
        columns = [metric for metric in names if _is_known(values, [*rows.values(), *extra], metric)]
        for metric in columns:
            table.add_column(names[metric], justify="right")
        for position, (branch, source) in enumerate(rows.items()):
            style = "bold" if position == 0 else "dim"
            table.add_row(branch, *_percentages(values, source, columns), style=style)
        table.add_section()
        for split in extra:
            table.add_row(split, *_percentages(values, split, columns))
        tables.append(table)
    tables[-1].caption = why_unknown(values, "test")
    return tables


def why_unknown(values: Mapping[str, Any], split: str) -> str | None:
    """Which of `COLUMNS` are undefined for a split in a summary, and why; None if all are defined."""
    unknown = [metric for metric in COLUMNS if values.get(f"{split}/{metric}") is None]
    if not unknown:
        return None
    names = ", ".join(COLUMNS[metric] for metric in unknown)
    if "unbiased" in unknown:
        return f"{names}: not known, as the {split} images have no bias labels"
    if {"aligned", "conflicting"} <= set(unknown):
        return f"{names}: not known, as no pair of target and bias is bias-aligned"
    return f"{names}: no such {split} image"


def branches_of(values: Mapping[str, Any], split: str) -> list[str]:
    """The branches in a summary, the prediction first."""
    suffix = f"/{METRICS[0]}"
    names = [name.removesuffix(suffix).split("/") for name in values if name.endswith(suffix)]
    return [name[1] for name in names if name[0] == split and len(name) == 2]


def extra_splits(values: Mapping[str, Any]) -> list[str]:
    """The splits in a summary other than "valid" and "test"."""
    names = dict.fromkeys(name.split("/")[0] for name in values if name.count("/") == 2)
    return [name for name in names if name not in ("valid", "test")]


def _is_known(values: Mapping[str, Any], sources: Sequence[str], metric: str) -> bool:
    return any(values.get(f"{source}/{metric}") is not None for source in sources)


def _percentages(values: Mapping[str, Any], source: str, metrics: Sequence[str]) -> list[str]:
    return [percent(values.get(f"{source}/{metric}")) for metric in metrics]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
