"""Loading a data set as tests do."""

from collections.abc import Mapping
from typing import Any

from debiaslab.datasets import BiasedDataset, dataset_config


def loaded(settings: Mapping[str, Any]) -> BiasedDataset:
    """The data set of `settings`, which has the validation images that it promises before it is loaded."""
    config = dataset_config(settings)
    data = config.load()
    assert config.has_valid() == (data.valid is not None)
    return data
