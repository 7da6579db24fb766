"""Sample the values of a trial: Optuna's samplers, seeded separately for each trial, and a grid."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from debiaslab.commands.searches.plan import Plan
from debiaslab.commands.searches.space import Range, Value
from debiaslab.core.randomness import derived_seed

FAILED, SURPLUS = "failed", "surplus"  # attributes of a trial: why it has no value; that it was superfluous


def is_counted(trial: FrozenTrial) -> bool:
    """Whether the trial counts towards the number of trials: finished or running."""
    return trial.state in (TrialState.COMPLETE, TrialState.RUNNING) or FAILED in trial.user_attrs


def distribution(range_: Range) -> BaseDistribution:
    values: Any = range_.values
    if range_.kind == "choice":
        return CategoricalDistribution(values)
    low, high = values
    if range_.kind == "int":
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=range_.kind == "log")


def ordinal(study: optuna.Study, number: int) -> int:
    """The number of points drawn before the trial `number`; repetitions draw none.

    It is a function of the database before the trial, so no two workers draw the same point, and a search that was
    killed and resumed draws the same points as an uninterrupted one.
    """
    before = [trial for trial in study.get_trials(deepcopy=False) if trial.number < number]
    return sum("fixed_params" not in trial.system_attrs and SURPLUS not in trial.user_attrs for trial in before)


def sampler_for(plan: Plan) -> Callable[[int], BaseSampler]:
    """A function from the number of points drawn so far to the sampler of the next one."""
    if plan.words.sampler == "grid":
        points = list(product(*(range_.points() for range_ in plan.space)))
        names = [range_.setting for range_ in plan.space]
        grid = [dict(zip(names, point, strict=True)) for point in points]
        return lambda drawn: GridPoint(grid, drawn)
    cls = {"tpe": TPESampler, "random": RandomSampler}[plan.words.sampler]
    return lambda drawn: cls(seed=derived_seed(plan.seed, "search", drawn) % 2**32)


class PerTrial(BaseSampler):
    """Uses a new sampler for each trial, made by `build` from the number of points drawn before."""

    def __init__(self, build: Callable[[int], BaseSampler]) -> None:
        self.build = build
        self.sampler = build(0)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.sampler = self.build(ordinal(study, trial.number))
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)


class GridPoint(BaseSampler):
    """The point of a grid at index `drawn`; past the end, one whose trial was abandoned while it was drawn."""

    def __init__(self, grid: Sequence[Mapping[str, Value]], drawn: int) -> None:
        self.grid = grid
        self.point = grid[drawn] if drawn < len(grid) else None

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self.point is None:
            taken = [other.params for other in study.get_trials(deepcopy=False) if is_counted(other)]
            self.point = next((point for point in self.grid if point not in taken), self.grid[0])

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        assert self.point is not None
        return self.point[param_name]
