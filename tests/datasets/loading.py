"""Loading a data set as tests do."""

from collections.abc import Mapping
from typing import Any

from debiaslab.datasets import BiasedDataset, Split, dataset_config, selection_images_from_settings
from debiaslab.datasets.splits import ImagesOnFile


def loaded(settings: Mapping[str, Any]) -> BiasedDataset:
    """The data set of `settings`, whose images are what its settings tell of them."""
    config = dataset_config(settings)
    data = config.load()
    told, found = selection_images_from_settings(settings), data.selection_images(config.protocol)
    assert told.has_valid in (None, found.has_valid)
    assert told.knows_bias in (None, found.knows_bias)
    return data


def rows_of(split: Split) -> list[int]:
    """The rows of a split whose images are on file."""
    assert isinstance(split.images, ImagesOnFile)
    rows: list[int] = split.images.rows.tolist()
    return rows
