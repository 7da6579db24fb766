"""Queries over the declared settings of runs and data, used to compare and label recorded runs.

Names are dotted, as on the command line: "seed", "data.skew".
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from debiaslab.core.settings import Setting, declared, default_settings, flatten
from debiaslab.datasets import DATASETS
from debiaslab.methods import METHODS
from debiaslab.settings.run import RunSettings


def declarations() -> Mapping[str, Setting]:
    """The settings of runs and of all data sets, by dotted name."""
    return _declarations(tuple(DATASETS.values()))


@lru_cache(maxsize=1)
def _declarations(datasets: tuple[type, ...]) -> Mapping[str, Setting]:
    found = dict(declared(RunSettings))
    for cls in datasets:
        for name, known in declared(cls).items():
            found.setdefault(f"data.{name}", known)
    return MappingProxyType(found)


def without_effect_on_results() -> set[str]:
    """The settings that results do not depend on, such as folders and devices."""
    return {name for name, known in declarations().items() if not known.changes_result}


def places() -> set[str]:
    """The settings that name something on this machine, such as the folder of the data or the device."""
    return {name for name, known in declarations().items() if known.place}


def earlier_values(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Setting -> what runs were made with that were recorded before there was this setting.

    Those that a run with `config`, recorded or new, has; None: those of runs and of all data sets.
    """
    config = config or {}
    method = config.get("method", {}).get("name")
    parts = {
        "": declared(RunSettings),
        "data.": data_declarations(config.get("data", {})),
        "method.hparams.": declared(METHODS[method].Config) if method in METHODS else {},
    }
    declarations = {f"{prefix}{name}": known for prefix, part in parts.items() for name, known in part.items()}
    return {name: known.before for name, known in declarations.items() if known.before is not ...}


def as_recorded_now(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nested configuration of an older record as it would be recorded now.

    With settings that are younger than the record, and without those that are None because the data set does not have
    them.
    """
    data, method = config["data"], config["method"]
    own = data_declarations(data)
    now = {**config, "data": {name: value for name, value in data.items() if value is not None or name in own}}
    now["method"] = {**method, "hparams": dict(method["hparams"])}
    sections = {"": now, "data": now["data"], "method.hparams": now["method"]["hparams"]}
    for name, value in earlier_values(config).items():
        section, _, setting = name.rpartition(".")
        sections[section].setdefault(setting, value)
    return now


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a configuration, recorded or new, that its result depends on, by dotted name.

    Settings that are None are left out; older records contain None for settings that the data set does not have.
    """
    ignored = without_effect_on_results()
    known = earlier_values(config) | dict(flatten(config))
    return {name: value for name, value in known.items() if name not in ignored and value is not None}


# ---- of the data alone


def data_declarations(data: Mapping[str, Any]) -> dict[str, Setting]:
    """The declarations of the data set `data["name"]`; of all data sets, if this version does not know it."""
    classes = [DATASETS[data["name"]]] if data.get("name") in DATASETS else list(DATASETS.values())
    return {name: known for cls in reversed(classes) for name, known in declared(cls).items()}


def variant_of(data: Mapping[str, Any]) -> str:
    """The variant of a data set, from its settings: "skew 0.005, severity 4"."""
    named, switched_on = [], []
    for name, known in data_declarations(data).items():
        value = data.get(name)
        if isinstance(known.label, str) and value:
            switched_on.append(known.label)
        elif known.label is True and value is not None:
            named.append(f"{name} {value}")
    return ", ".join([*named, *switched_on])


def ratio_settings(data: Mapping[str, Any]) -> list[str]:
    """The settings of the data set that determine how many training images conflict with the bias."""
    return [name for name, known in data_declarations(data).items() if known.percent is not None]


def conflicting_percent(data: Mapping[str, Any]) -> float | None:
    """The percentage of bias-conflicting training images, if the settings determine it; otherwise None."""
    for name, known in data_declarations(data).items():
        value = data.get(name)
        if known.percent is not None and isinstance(value, (int, float)):
            return round(float(known.percent(value)), 6)
    return None


def differs_from_published(data: Mapping[str, Any]) -> bool:
    """Whether a setting of the data, other than the ratio of the bias, differs from that of the published numbers."""
    cls = DATASETS.get(data["name"])
    if cls is None:
        return False
    defaults = default_settings(cls)
    fixed = [name for name, known in declared(cls).items() if known.published and known.changes_result]
    return any(data.get(name) not in (None, defaults[name]) for name in fixed if name not in ratio_settings(data))
