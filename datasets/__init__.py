"""The data sets, by name. Needs torch and numpy only."""

from collections.abc import Mapping
from typing import Any

from debiaslab.core.errors import UserError, one_of, require_known
from debiaslab.core.settings import setting_names, settings
from debiaslab.datasets.bar import BAR
from debiaslab.datasets.base import IID, BiasedDataset, DatasetConfig, SelectionImages, Source
from debiaslab.datasets.biased_mnist import BiasedMNIST
from debiaslab.datasets.celeba import CelebA
from debiaslab.datasets.colored_mnist import ColoredMNIST
from debiaslab.datasets.corrupted_cifar10 import CorruptedCIFAR10
from debiaslab.datasets.custom import Custom
from debiaslab.datasets.digits import ColoredDigits
from debiaslab.datasets.folders import BFFHQ, DogsAndCats, FolderCIFAR10, FolderMNIST
from debiaslab.datasets.imagenet9 import ImageNet9
from debiaslab.datasets.imagenet9_bg import ImageNet9Backgrounds
from debiaslab.datasets.kinetics import Kinetics10, Kinetics50
from debiaslab.datasets.metashift import MetaShift
from debiaslab.datasets.nicopp import NICOpp
from debiaslab.datasets.preprocessing import Normalization
from debiaslab.datasets.spawrious import Spawrious
from debiaslab.datasets.splits import Split
from debiaslab.datasets.urbancars import UrbanCars
from debiaslab.datasets.waterbirds import Waterbirds

__all__ = [
    "DATASETS",
    "BiasedDataset",
    "DatasetConfig",
    "Normalization",
    "SelectionImages",
    "Source",
    "Split",
    "dataset_config",
    "selection_images_from_settings",
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
    "waterbirds": Waterbirds,
    "urbancars": UrbanCars,
    "metashift": MetaShift,
    "spawrious": Spawrious,
    "imagenet9_bg": ImageNet9Backgrounds,
    "nicopp": NICOpp,
    "custom": Custom,
}


def dataset_config(values: Mapping[str, Any]) -> DatasetConfig:
    """Check the settings of the data set `values["name"]` and return its config.

    Raises `UserError` for a setting that the data set does not have, unless it is None: older records contain the
    settings of all data sets.
    """
    name = values["name"]
    require_known("data set", name, DATASETS)
    own = setting_names(DATASETS[name])
    elsewhere = {setting for cls in DATASETS.values() for setting in setting_names(cls)}.difference(own)
    chosen = {}
    for setting, value in values.items():
        if setting == "name" or (setting in elsewhere and value is None):
            continue
        if setting in elsewhere:
            raise UserError(f"data.{setting} is not a setting of {name}; its settings: {one_of(own)}")
        require_known("setting", setting, own, prefix="data.")
        chosen[setting] = value
    return settings(DATASETS[name], chosen, "data.")


def selection_images_from_settings(values: Mapping[str, Any]) -> SelectionImages:
    """What is known about the images for checkpoint selection from the settings; invalid settings are rejected when
    the data are loaded."""
    try:
        config = dataset_config(values)
        return IID if config.protocol == "iid" else config.selection_images()
    except UserError:
        return SelectionImages(knows_bias=True, has_valid=True)
