"""Loading a data set as tests do."""

from collections.abc import Mapping
from typing import Any

from debiaslab.datasets import BiasedDataset, dataset_config


def loaded(settings: Mapping[str, Any]) -> BiasedDataset:
    """The data set of `settings`, whose images are what its settings tell of them."""
    config = dataset_config(settings)
    data = config.load()
    told, found = config.judged(), data.judged(config.protocol)
    assert told.has_valid in (None, found.has_valid)
    assert told.knows_bias in (None, found.knows_bias)
    return data
