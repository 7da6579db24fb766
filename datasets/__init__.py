"""Data sets, by name. Torch and numpy only, but for `ingredient.py`."""

from collections.abc import Callable, Mapping
from typing import Any

from debiaslab.core.errors import UserError, one_of, require_known
from debiaslab.core.settings import default_settings, setting_names, settings
from debiaslab.datasets.bar import BAR
from debiaslab.datasets.base import BiasedDataset, DatasetConfig, Normalization, Source, Split
from debiaslab.datasets.biased_mnist import BiasedMNIST
from debiaslab.datasets.celeba import CelebA
from debiaslab.datasets.colored_mnist import ColoredMNIST
from debiaslab.datasets.corrupted_cifar10 import CorruptedCIFAR10
from debiaslab.datasets.custom import Custom
from debiaslab.datasets.digits import ColoredDigits
from debiaslab.datasets.folders import BFFHQ, DogsAndCats, FolderCIFAR10, FolderMNIST
from debiaslab.datasets.imagenet9 import ImageNet9
from debiaslab.datasets.kinetics import Kinetics10, Kinetics50

__all__ = [
    "DATASETS",
    "BiasedDataset",
    "DatasetConfig",
    "Normalization",
    "Source",
    "Split",
    "dataset_config",
    "default_setting",
    "has_valid",
    "knows_bias",
]

DATASETS: dict[str, type[DatasetConfig]] = {
    "digits": ColoredDigits,
    "colored_mnist": ColoredMNIST,
    "biased_mnist": BiasedMNIST,
    "corrupted_cifar10": CorruptedCIFAR10,
    "bffhq": BFFHQ,
    "dogs_and_cats": DogsAndCats,
    "cmnist": FolderMNIST,
    "cifar10c": FolderCIFAR10,
    "bar": BAR,
    "imagenet9": ImageNet9,
    "kinetics10": Kinetics10,
    "kinetics50": Kinetics50,
    "celeba": CelebA,
    "custom": Custom,
}


def default_setting(name: str, setting: str, arrays: str | None = None) -> Any:
    """The default of one setting of the data set `name`; None if it has no such setting.

    Nor has it, by default, where ready-made `arrays` are read: they are what they are.
    """
    require_known("data set", name, DATASETS)
    return None if arrays else default_settings(DATASETS[name]).get(setting)


def dataset_config(values: Mapping[str, Any]) -> DatasetConfig:
    """The checked settings of the data set `values["name"]`.

    A setting that is None and that only other data sets have is left out; any other raises `UserError`.
    """
    name = values["name"]
    require_known("data set", name, DATASETS)
    own = setting_names(DATASETS[name])
    known = {setting for cls in DATASETS.values() for setting in setting_names(cls)}
    chosen = {}
    for setting, value in values.items():
        if setting == "name":
            continue
        require_known("setting", setting, known, prefix="data.")
        if setting in own:
            chosen[setting] = value
        elif value is not None:
            raise UserError(f"data.{setting} is not a setting of {name}; its settings: {one_of(own)}")
    return settings(DATASETS[name], chosen, "data.")


def knows_bias(values: Mapping[str, Any]) -> bool:
    """Whether weights can be chosen by accuracies that need bias labels, by default; True for settings that are wrong.

    They are refused where they are read.
    """
    return _told(values, lambda config: config.knows_bias())


def has_valid(values: Mapping[str, Any]) -> bool:
    """Whether the data set has validation images; True for settings that are wrong, as `knows_bias`."""
    return _told(values, lambda config: config.has_valid())


def _told(values: Mapping[str, Any], question: Callable[[DatasetConfig], bool]) -> bool:
    try:
        return question(dataset_config(values))
    except UserError:
        return True
