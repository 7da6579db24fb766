"""The plan of a search: its settings, ranges and objective, checked before anything starts."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch

from debiaslab.commands.parallel import jobs_that_pay
from debiaslab.commands.searches.space import Range, Value, as_words, read_range
from debiaslab.commands.searches.words import RULE, STORAGE_URL, TRIALS, SearchWords
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.datasets import dataset_config
from debiaslab.evaluation.history import require_defined
from debiaslab.evaluation.selection import parse_rule
from debiaslab.methods import method_class
from debiaslab.recording.configuration import configuration
from debiaslab.settings.declared import earlier_values, result_settings
from debiaslab.settings.recipes import default_selection
from debiaslab.settings.run import AUTO
from debiaslab.settings.setup import Setup, is_open, load_once, section, settle
from debiaslab.settings.setup import check as check_settings


@dataclass(frozen=True)
class Plan:
    """A search. `config` is the configuration of its runs, except the searched settings, which vary over `space`.

    The objective is `metric` on validation images, at the evaluation selected by the rule `selection`.
    """

    words: SearchWords
    space: tuple[Range, ...]
    metric: str
    selection: str
    config: Mapping[str, Any]

    @property
    def objective(self) -> str:
        return f"valid/{self.metric}"

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def log_dir(self) -> Path:
        return Path(self.config["log_dir"])

    @property
    def storage(self) -> str:
        file = "searches.journal" if self.words.on_slurm else "searches.db"
        return self.words.storage or os.environ.get(STORAGE_URL) or str(self.log_dir / file)

    @property
    def num_trials(self) -> int:
        """The number of trials that complete the search; for a grid, by default all of its points."""
        if self.words.sampler != "grid":
            return self.words.trials or TRIALS
        size = prod(len(range_.points()) for range_ in self.space)
        return min(size, self.words.trials or size)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Everything that is common to the workers of a search."""
        searched = {range_.setting for range_ in self.space}
        earlier = earlier_values(self.config).items()  # of settings that older searches lack
        settings = {
            name: value
            for name, value in result_settings(self.config).items()
            if name not in {*searched, "selection"} and (name, value) not in earlier
        }
        facts = settings | {range_.setting: range_.text for range_ in self.space}
        facts |= {"sampler": self.words.sampler, "objective": self.objective, "selection": self.selection}
        plain: dict[str, Any] = json.loads(json.dumps(facts))
        return plain

    @property
    def name(self) -> str:
        """The given name, or one derived from the facts, so that the same command gives the same search."""
        digest = hashlib.blake2b(json.dumps(self.facts, sort_keys=True).encode(), digest_size=4).hexdigest()
        return self.words.name or f"{self.config['method']['name']}-{self.config['data']['name']}-{digest}"

    def run_words(self, values: Mapping[str, Value]) -> list[str]:
        """The words of a run with these values of the searched settings."""
        return [*self.words.common, *self.own_words(values)]

    def own_words(self, values: Mapping[str, Value]) -> list[str]:
        """The same without the words of all runs."""
        rule = [f"selection={self.selection}"] if self.selection != self.config["selection"] else []
        return [*rule, *as_words(values)]

    def trial_words(self, number: int, values: Mapping[str, Value]) -> list[str]:
        marks = [f"search={self.name}", f"trial={number}", f"objective={self.objective}"]
        return [*self.run_words(values), *marks]


def make_plan(words: SearchWords) -> Plan:
    """Build the plan from `words`. Raises `UserError` for any mistake."""
    config: Mapping[str, Any] = configuration(ex, words.common)
    if is_open(config):
        config = settle(config, load_once(dataset_config(config["data"])))
    metric, rule = words.parsed_objective
    selection = rule or selection_for(config["data"])
    metric = metric or (selection.removeprefix(RULE) if selection != "last" else "unbiased")
    words = replace(words, jobs=words.jobs or jobs_that_pay([config]))
    plan = Plan(words, words.space or own_space(config, words.given), metric, selection, config)
    _ = plan.num_trials  # rejects ranges that a grid does not support
    return plan


def selection_for(data: Mapping[str, Any]) -> str:
    """The default rule of the trials: on validation images, for any protocol."""
    protocol = "iid" if data["protocol"] == "iid" else "holdout"
    rule = default_selection({**data, "protocol": protocol})
    return rule if rule != AUTO else default_selection(data, load_once(dataset_config(data)).selection_images(protocol))


def own_space(config: Mapping[str, Any], given: Collection[str] = ()) -> tuple[Range, ...]:
    """The ranges that the method declares (`SEARCH`), without the settings that are `given` or have no effect.

    Raises `UserError` if there are none.
    """
    name, hparams = config["method"]["name"], section(config, "method")
    idle = check_settings(config).method_config.without_effect().values()
    space = []
    for setting, declared in method_class(name).search_space(config["data"]).items():
        full_name, text = f"method.hparams.{setting}", declared.at(hparams[setting])
        if text is None or full_name in given or any(setting in names for names in idle):
            continue
        found = read_range(full_name, text)
        assert found is not None
        space.append(replace(found, source=declared.source))
    if not space:
        raise UserError(
            f"nothing to search: {name} declares no range for a setting that is not given;"
            " write one, such as 'method.hparams.learning_rate=log(1e-4, 1e-2)'"
        )
    return tuple(space)


def check(plan: Plan) -> None:
    """Raise `UserError` if the data do not support the objective, or the runs at the ends of the ranges are invalid."""
    require_objective(plan, check_settings(plan.config))
    columns = [range_.values for range_ in plan.space]
    for row in range(max(map(len, columns))):
        values = {range_.setting: column[row % len(column)] for range_, column in zip(plan.space, columns, strict=True)}
        # the device is checked by the trials: checking it here would occupy it for the whole search
        setup, data = check_settings(configuration(ex, plan.run_words(values))).with_data()
        setup.build_method(data, torch.device("cpu"))
        for name, rule in setup.method_config.rules().items():
            if parse_rule(rule, True, name).split == "test":
                raise UserError(
                    f"method.hparams.{name}={rule} selects weights on the test images, and so would the search;"
                    f" use method.hparams.{name}=best_valid_{plan.metric}, or data.protocol=holdout"
                )
    load_once.cache_clear()  # the trials load them in their own processes


def require_objective(plan: Plan, setup: Setup) -> None:
    """Raise `UserError` unless the data have validation images on which the objective's metric is defined."""
    data = load_once(setup.data)
    if data.valid is None:
        protocol = plan.config["data"]["protocol"]
        raise UserError(
            f"objective={plan.objective} needs validation images, and {data.name} has none with"
            f" data.protocol={protocol}; use data.protocol=holdout"
        )
    for metric in {plan.metric, plan.selection.removeprefix(RULE)} - {"last"}:
        require_defined(parse_rule(RULE + metric, True, "objective"), data, "objective")
