"""The preprocessing of runs whose weight files do not contain it, derived from the settings of the data."""

from typing import Any

from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.datasets import DATASETS, dataset_config
from debiaslab.datasets.base import CIFAR10_STATISTICS, IMAGENET_STATISTICS
from debiaslab.datasets.biased_mnist import STATISTICS as BIASED_MNIST_STATISTICS
from debiaslab.datasets.imagenet9 import ImageNet9
from debiaslab.datasets.preprocessing import Normalization, Preprocessing, Stretched

SIZES = {"digits": 28, "colored_mnist": 28, "biased_mnist": 28, "corrupted_cifar10": 32}  # others have a setting
STATISTICS: dict[str, Normalization | None] = {
    "digits": None,
    "colored_mnist": None,
    "cmnist": None,
    "biased_mnist": BIASED_MNIST_STATISTICS,
    **dict.fromkeys(("corrupted_cifar10", "cifar10c", "bffhq", "dogs_and_cats", "bar"), CIFAR10_STATISTICS),
    **dict.fromkeys(("celeba", "imagenet9", "custom"), IMAGENET_STATISTICS),
}


def earlier_input(record: Record) -> dict[str, Any]:
    """The equivalent of `settings.weights.input_facts` for older runs. Raises `UserError` if it is unknown."""
    settings = record.config["data"]
    name = settings["name"]
    if name not in DATASETS or settings.get("arrays") is not None:
        raise UserError(
            f"the weights of the run {record.id} lack the preprocessing, and its settings do not determine it: train it"
            " again"
        )
    preprocessing = _preprocessing(name, settings)
    classes = (record.info.get("data") or {}).get("classes") or range(len(record.history().aligned))
    return {
        "shape": [] if preprocessing is None else preprocessing.prepare.image_shape,
        "classes": list(map(str, classes)),
        "preprocessing": None if preprocessing is None else preprocessing.facts(),
    }


def _preprocessing(name: str, settings: dict[str, Any]) -> Preprocessing | None:
    if name not in STATISTICS:
        return None
    config = dataset_config(settings)
    if isinstance(config, ImageNet9):
        return Preprocessing(config.preparation("test"), IMAGENET_STATISTICS)
    statistics = None if settings.get("normalize") == "none" else STATISTICS[name]
    return Preprocessing(Stretched(SIZES.get(name) or config.image_size), statistics)  # type: ignore[attr-defined]
