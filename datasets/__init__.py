"""Data sets, by name. Torch and numpy only, but for `ingredient.py`."""

from collections.abc import Mapping
from typing import Any

from core.errors import UserError, one_of, require_known
from core.settings import default_settings, setting_names, settings
from datasets.base import BiasedDataset, DatasetConfig, Split
from datasets.colored_mnist import ColoredMNIST
from datasets.digits import ColoredDigits

__all__ = ["DATASETS", "BiasedDataset", "DatasetConfig", "Split", "dataset_config", "default_variant"]

DATASETS: dict[str, type[DatasetConfig]] = {
    "digits": ColoredDigits,
    "colored_mnist": ColoredMNIST,
}


def default_variant(name: str) -> dict[str, Any]:
    """The default settings of the data set `name`."""
    require_known("data set", name, DATASETS)
    return default_settings(DATASETS[name])


def dataset_config(values: Mapping[str, Any]) -> DatasetConfig:
    """The checked settings of the data set `values["name"]`.

    A setting that is None and that the data set does not have is left out; any other raises `UserError`.
    """
    name = values["name"]
    require_known("data set", name, DATASETS)
    cls = DATASETS[name]
    own = {key: value for key, value in values.items() if key != "name"}
    foreign = [key for key, value in own.items() if key not in setting_names(cls) and value is not None]
    if foreign:
        raise UserError(f"data.{foreign[0]} is not a setting of {name}; its settings: {one_of(setting_names(cls))}")
    return settings(cls, {key: value for key, value in own.items() if key in setting_names(cls)}, "data")
