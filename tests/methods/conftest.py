from pathlib import Path

import pytest

from datasets import BiasedDataset, dataset_config


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(cache: Path) -> BiasedDataset:
    return dataset_config({"name": "digits", "cache": str(cache)}).load()
