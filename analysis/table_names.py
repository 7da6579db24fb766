"""Name the rows and columns of tables by the settings in which runs differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from debiaslab.analysis.deviations import SEARCHED, deviations
from debiaslab.analysis.frames import settings_that_differ
from debiaslab.analysis.records import HasConfig, Record
from debiaslab.core.console import plural
from debiaslab.core.settings import flatten
from debiaslab.methods import METHODS
from debiaslab.settings.declared import declarations, variant_of

COLUMN_SETTINGS = ("data.", "evaluate_images")  # settings of the evaluation; if they differ, there are separate columns
# differences in all other settings, except the selection rule, give separate rows
NOT_ROW = (*COLUMN_SETTINGS, "selection")


def row_names(runs: Sequence[HasConfig]) -> dict[str, str]:
    """Map run ids to row names: the method, with the settings in which its runs differ.

    Named are the recipe, that settings are the best of a search, settings in which runs on the same data differ, and
    deviations from the recipe that are not common to all runs of the method, on whatever data.
    """
    names = {}
    for method in dict.fromkeys(run.config["method"]["name"] for run in runs):
        same_method = [run for run in runs if run.config["method"]["name"] == method]
        recipes = {run.config["method"].get("recipe") for run in same_method}
        deviating = {run.id: _deviations(run.config) for run in same_method}
        common = set.intersection(*map(set, deviating.values()))
        for recipe, tuned in {_recipe_and_trials(run) for run in same_method}:
            same_recipe = [run for run in same_method if _recipe_and_trials(run) == (recipe, tuned)]
            differing = settings_that_differ_on_same_data(same_recipe)
            for run in same_recipe:
                settings = dict(flatten(run.config))
                facts = [str(recipe)] if len(recipes) > 1 else []
                facts += shown_tuning(tuned)
                facts += [f"{name.split('.')[-1]} {format_value(settings.get(name))}" for name in differing]
                facts += [deviation for deviation in deviating[run.id] if deviation not in common]
                names[run.id] = f"{method} ({', '.join(dict.fromkeys(facts))})" if facts else method
    return names


def _recipe_and_trials(run: HasConfig) -> tuple[Any, int | None]:
    """The recipe of a run, and the number of trials that its settings are the best of; None if they were not tuned."""
    return run.config["method"].get("recipe"), run.config.get("tuned")


def _deviations(config: Mapping[str, Any]) -> list[str]:
    """The deviations of a run from its recipe, without those of a search, which differ from data set to data set."""
    method = METHODS.get(config["method"]["name"])
    searched = () if config.get("tuned") is None or method is None else method.SEARCH
    return [deviation.text for deviation in deviations(config, {*SEARCHED, *searched})]


def shown_tuning(trials: int | None) -> list[str]:
    """That settings are the best of so many `trials`; empty if they were not tuned."""
    return [] if trials is None else [f"tuned, {plural(trials, 'trial')}"]


def format_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_that_differ_on_same_data(runs: Sequence[HasConfig]) -> list[str]:
    """The settings in which runs on the same data differ, wherever the data are stored."""
    places = {name for name, known in declarations().items() if not known.changes_result and not known.label}
    groups: dict[str, list[HasConfig]] = {}
    for run in runs:
        data = [(name, value) for name, value in flatten(run.config["data"]) if f"data.{name}" not in places]
        groups.setdefault(repr(sorted(data)), []).append(run)
    found = dict.fromkeys(name for group in groups.values() for name in settings_that_differ(group))
    return [name for name in found if not name.startswith(NOT_ROW)]


def column_names(records: Sequence[Record]) -> dict[str, str]:
    """The data set and variant of each run, with other settings of the data in which runs of that variant differ, and
    with the fingerprint if the data differ."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        data = record.config["data"]
        groups.setdefault(", ".join(part for part in (data["name"], variant_of(data)) if part), []).append(record)
    names = {}
    for variant, runs in groups.items():
        differing = [name for name in settings_that_differ(runs) if name.startswith(COLUMN_SETTINGS)]
        for record in runs:
            settings = dict(flatten(record.config))
            facts = [f"{name.removeprefix('data.')} {format_value(settings.get(name))}" for name in differing]
            names[record.id] = ", ".join([variant, *facts])
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(names[record.id], []).append(record)
    for name, runs in by_name.items():
        if len({record.fingerprint for record in runs}) > 1:  # the same settings, but other images or labels
            names |= {record.id: f"{name}, data {record.fingerprint or 'unknown'}" for record in runs}
    return names
