"""Settings that do not exist, and those that the user may have meant."""

from collections.abc import Mapping, Sequence
from typing import Any

from debiaslab.core.errors import UserError, require_known
from debiaslab.core.program import program_name
from debiaslab.core.settings import flatten

DENETDM_WEIGHTS = "pretrained_model_path"  # what the authors' code of DeNetDM calls `checkpoint`

# names in other programs -> the last part of ours
HABITS = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "wd": "weight_decay",
    "steps": "num_steps",
    "iterations": "num_steps",
    "gpu": "device",
    "cuda": "device",
    "num_workers": "workers",
    "arch": "model",
    "backbone": "model",
}


def require_known_settings(config: Mapping[str, Any], known: Sequence[str], ingredients: Sequence[str]) -> None:
    """Raise `UserError` for a setting of `config` that is none of `known`, with what may have been meant: one of these,
    or of the settings of `ingredients`."""
    if (path := config.get(DENETDM_WEIGHTS)) is not None:
        raise UserError(
            f"unknown setting '{DENETDM_WEIGHTS}': weights are named by checkpoint; type {program_name()} evaluate with"
            f" ... checkpoint={path}"
        )
    for name, value in config.items():
        if name not in known:
            require_known("setting", name, known, elsewhere=find_meant(name, value, config, ingredients))


def find_meant(name: str, value: Any, config: Mapping[str, Any], ingredients: Sequence[str]) -> dict[str, str]:
    """Settings of the ingredients that the unknown setting `name` may stand for: name as typed -> dotted name.

    They are matched by the last part of their names, where that is unique, or by a name that is usual elsewhere. If
    `value` is nested, a dotted name was typed, and its last part is matched.
    """
    nested = {ingredient: config[ingredient] for ingredient in ingredients}
    names = [inner for inner, set_to in flatten(nested) if set_to is not None]
    ends = [inner.rpartition(".")[2] for inner in names]
    by_end = {end: inner for end, inner in zip(ends, names, strict=True) if ends.count(end) == 1}
    usual = {habit: by_end.get(end, end) for habit, end in HABITS.items() if end in by_end or end in config}
    if not isinstance(value, Mapping):
        return usual | by_end
    end = next((inner.rpartition(".")[2] for inner, _ in flatten(value)), "")
    return {name: by_end[end]} if end in by_end else {}
