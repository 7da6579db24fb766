"""Parse the words after `with`: settings by full or short name, named configurations, and JSON files of settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sacred import Experiment
from sacred.arg_parser import get_config_updates

from debiaslab.core.errors import UserError, require_known
from debiaslab.core.files import expand
from debiaslab.core.randomness import SEEDS, SEEDS_IN_WORDS
from debiaslab.core.settings import flatten, merge, nest

# abbreviations; the settings on the right are recorded
SHORT_SETTINGS: dict[str, str] = {
    "method": "method.name",
    "model": "model.name",
    "data": "data.name",
    "epochs": "method.hparams.epochs",
    "num_steps": "method.hparams.num_steps",
}


def expand_path(update: str) -> str:
    """Expand `~` and `$VARIABLE` in the value of `update`, which shells do not do after "="."""
    name, _, value = update.partition("=")
    return f"{name}={expand(value, name)}" if value.startswith("~") or "$" in value else update


def read_updates(ex: Experiment, updates: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse the words after `with` into (settings, named configurations).

    Raises `UserError` for an unknown configuration, contradictory ones, a file that cannot be read, or a setting that
    Sacred cannot parse.
    """
    written: list[str] = []
    from_files: dict[str, Any] = {}
    for update in updates:
        name, separator, value = update.partition("=")
        if separator:
            written.append(f"{SHORT_SETTINGS.get(name, name)}={value}")
        elif name.endswith(".json"):
            from_files = merge(from_files, read_settings(Path(name)))
        else:
            require_known("named configuration", name, ex.named_configs)
            written.append(name)
    settings, named_configs = parse_updates(written)
    require_agreement({name: ex.named_configs[name]() for name in named_configs})
    merged = merge(from_files, settings)
    require_well_formed(merged)
    return merged, named_configs


def parse_updates(updates: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse `updates` with Sacred. Raises `UserError` for a value that it cannot parse."""
    try:
        parsed: tuple[dict[str, Any], list[str]] = get_config_updates(updates)
    except (TypeError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        if len(updates) > 1:
            for update in updates:
                parse_updates([update])
        text = ", ".join(updates)
        raise UserError(f"cannot read the value of {text[:80]}{'...' * (len(text) > 80)}: {error}") from None
    return parsed


def require_well_formed(settings: Mapping[str, Any]) -> None:
    """Raise `UserError` for settings that would make Sacred fail before they are checked."""
    for name, value in flatten(settings):
        if "" in name.split("."):
            raise UserError(
                f"{name}={value}: a part of the setting's name is missing; write NAME=VALUE or data.NAME=VALUE"
            )
    ingredients = {f"{name}.": part for name, part in settings.items() if isinstance(part, Mapping)}
    for prefix, part in {"": settings, **ingredients}.items():
        seed = part.get("seed")
        if seed is not None and not isinstance(seed, int):
            raise UserError(f"{prefix}seed={seed!r}: must be of type int, not {type(seed).__name__}")
        if seed is not None and seed not in SEEDS:
            raise UserError(f"{prefix}seed={seed}: must be {SEEDS_IN_WORDS}")


def require_agreement(named_configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `UserError` if two named configurations give a setting different values: one would be ignored."""
    given: dict[str, tuple[str, Any]] = {}
    for name, settings in named_configs.items():
        for setting, value in flatten(settings):
            other, others = given.setdefault(setting, (name, value))
            if others != value:
                values = f"{setting}={others} and {setting}={value}"
                raise UserError(f"{other} and {name} contradict each other, {values}: name one of them")


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings in a JSON file into nested dictionaries. Raises `UserError` for an invalid file."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no configuration file {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the configuration file {path}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"the configuration file {path} has no settings: it must be a JSON object")
    settings: dict[str, Any] = {}
    for name, value in values.items():
        full_name = name if isinstance(value, dict) else str(SHORT_SETTINGS.get(name, name))
        settings = merge(settings, nest({full_name: value}))
    return settings
