"""The Sacred experiment: its ingredients, settings and named configurations."""

import inspect
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_stack
from typing import Any

from debiaslab.core.program import CODE, source_files
from debiaslab.recording.installed import without_pkg_resources

with without_pkg_resources():
    from sacred import SETTINGS, Experiment
    from sacred.run import Run

from debiaslab.recording.command_line import out_option
from debiaslab.settings.ingredients import Scope, data, method, model, run_settings

__all__ = ["NAMED_CONFIGS", "Run", "ex", "set_up_sacred"]


@contextmanager
def bare_stack() -> Iterator[None]:
    """Within the block, `inspect.stack` gives frames alone.

    An experiment of Sacred asks it for the frame of its caller. To find the files and modules of all others, which it
    does not use, takes a twentieth of a short run.
    """
    stack = inspect.stack
    inspect.stack = lambda: [(frame,) for frame, _ in walk_stack(sys._getframe(1))]  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        inspect.stack = stack


with bare_stack():
    ex = Experiment(
        "debiaslab",
        base_dir=str(CODE),
        ingredients=[data, method, model],
        additional_cli_options=[out_option],
        save_git_info=False,  # Sacred would ask git once for every source file; a run records the version itself
    )

# Sacred's own remarks (added or changed entries, failed observers) are checked and reported by this project
logger = logging.getLogger("debiaslab")
logger.addHandler(logging.StreamHandler())
logger.setLevel(logging.CRITICAL)
logger.propagate = False
ex.logger = logger  # type: ignore[assignment]

ex.configurations.append(Scope(run_settings))


def set_up_sacred() -> None:
    """Set Sacred's process-wide settings: call it before a run of `ex`."""
    SETTINGS.CAPTURE_MODE = "sys"  # progress goes to the original standard error, which is not captured
    SETTINGS.CONFIG.READ_ONLY_CONFIG = False


# the record of each run contains the project's source code
for _file in source_files():
    ex.add_source_file(str(_file))

# name -> (description, settings)
NAMED_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    # data
    "digits": ("Coloured digits of scikit-learn: no download.", {"data": {"name": "digits"}}),
    "colored_mnist": ("Colored MNIST by LfF's protocol.", {"data": {"name": "colored_mnist"}}),
    "skewed0": ("90 % of the training images conflict with the bias.", {"data": {"skew": 0.9}}),
    "skewed1": ("5 % of the training images conflict with the bias.", {"data": {"skew": 0.05}}),
    "skewed2": ("2 % of the training images conflict with the bias.", {"data": {"skew": 0.02}}),
    "skewed3": ("1 % of the training images conflict with the bias.", {"data": {"skew": 0.01}}),
    "skewed4": ("0.5 % of the training images conflict with the bias.", {"data": {"skew": 0.005}}),
    "conflicting10": ("10 % of the training images conflict with the bias.", {"data": {"skew": 0.1}}),
    "conflicting20": ("20 % of the training images conflict with the bias.", {"data": {"skew": 0.2}}),
    "conflicting30": ("30 % of the training images conflict with the bias.", {"data": {"skew": 0.3}}),
    "conflicting40": ("40 % of the training images conflict with the bias.", {"data": {"skew": 0.4}}),
    "conflicting50": ("50 % of the training images conflict with the bias.", {"data": {"skew": 0.5}}),
    "conflicting60": ("60 % of the training images conflict with the bias.", {"data": {"skew": 0.6}}),
    "conflicting70": ("70 % of the training images conflict with the bias.", {"data": {"skew": 0.7}}),
    "conflicting80": ("80 % of the training images conflict with the bias.", {"data": {"skew": 0.8}}),
    "conflicting90": (
        "90 % of the training images conflict with the bias: none, for ten classes.",
        {"data": {"skew": 0.9}},
    ),
    "severity1": ("The weakest bias: noisy colours, weak corruptions.", {"data": {"severity": 1}}),
    "severity2": ("A weaker bias.", {"data": {"severity": 2}}),
    "severity3": ("A stronger bias.", {"data": {"severity": 3}}),
    "severity4": ("The strongest bias of the papers: pure colours, strong corruptions.", {"data": {"severity": 4}}),
    "biased_mnist": ("Biased MNIST of ReBias and EnD.", {"data": {"name": "biased_mnist"}}),
    "corrupted_cifar10": ("Corrupted CIFAR-10 by LfF's protocol.", {"data": {"name": "corrupted_cifar10"}}),
    "type0": ("Corruptions snow, frost, fog, ... of Corrupted CIFAR-10.", {"data": {"corruptions": "type0"}}),
    "type1": ("Corruptions by noise and blur of Corrupted CIFAR-10.", {"data": {"corruptions": "type1"}}),
    "rho999": ("99.9 % of the training images have the colour of their class.", {"data": {"rho": 0.999}}),
    "rho997": ("99.7 % of the training images have the colour of their class.", {"data": {"rho": 0.997}}),
    "rho995": ("99.5 % of the training images have the colour of their class.", {"data": {"rho": 0.995}}),
    "rho990": ("99 % of the training images have the colour of their class.", {"data": {"rho": 0.990}}),
    "bffhq": ("BFFHQ: the age of faces, with gender as bias.", {"data": {"name": "bffhq"}}),
    "dogs_and_cats": ("Dogs & Cats, with the colour of the fur as bias.", {"data": {"name": "dogs_and_cats"}}),
    "cmnist": ("Colored MNIST as DisEnt's authors publish it, in folders.", {"data": {"name": "cmnist"}}),
    "cifar10c": ("Corrupted CIFAR-10 as DisEnt's authors publish it, in folders.", {"data": {"name": "cifar10c"}}),
    "bar": ("Biased Action Recognition: six actions, with the place as bias.", {"data": {"name": "bar"}}),
    "pct0": ("BAR as published: no training image conflicts with the bias.", {"data": {"percent": 0.0}}),
    "pct0_5": ("0.5 % of the training images conflict with the bias.", {"data": {"percent": 0.5}}),
    "pct1": ("1 % of the training images conflict with the bias.", {"data": {"percent": 1.0}}),
    "pct2": ("2 % of the training images conflict with the bias.", {"data": {"percent": 2.0}}),
    "pct5": ("5 % of the training images conflict with the bias.", {"data": {"percent": 5.0}}),
    "imagenet9": ("9-class ImageNet of ReBias, with texture as bias.", {"data": {"name": "imagenet9"}}),
    "imagenet_a": ("Test on ImageNet-A too, in the folder imagenet-a.", {"data": {"imagenet_a": "imagenet-a"}}),
    "imagenet_c": ("Test on ImageNet-C too, in the folder imagenet-c.", {"data": {"imagenet_c": "imagenet-c"}}),
    "kinetics10": ("Actions of 10 classes: Kinetics, tested on Mimetics too.", {"data": {"name": "kinetics10"}}),
    "kinetics50": ("Actions of 50 classes: Kinetics, tested on Mimetics too.", {"data": {"name": "kinetics50"}}),
    "celeba": ("CelebA: blond hair or not, with gender as bias.", {"data": {"name": "celeba"}}),
    "waterbirds": ("Waterbirds: kinds of birds, with the background as bias.", {"data": {"name": "waterbirds"}}),
    "urbancars": (
        "UrbanCars: urban or country cars, with background and a second object as biases.",
        {"data": {"name": "urbancars"}},
    ),
    "metashift": ("MetaShift: cats or dogs, with indoors or outdoors as bias.", {"data": {"name": "metashift"}}),
    "spawrious": ("Spawrious: breeds of dogs, with the place as bias.", {"data": {"name": "spawrious"}}),
    "o2o_easy": ("Spawrious, one-to-one, easy.", {"data": {"challenge": "o2o_easy"}}),
    "o2o_medium": ("Spawrious, one-to-one, medium.", {"data": {"challenge": "o2o_medium"}}),
    "o2o_hard": ("Spawrious, one-to-one, hard.", {"data": {"challenge": "o2o_hard"}}),
    "m2m_easy": ("Spawrious, many-to-many, easy.", {"data": {"challenge": "m2m_easy"}}),
    "m2m_medium": ("Spawrious, many-to-many, medium.", {"data": {"challenge": "m2m_medium"}}),
    "m2m_hard": ("Spawrious, many-to-many, hard.", {"data": {"challenge": "m2m_hard"}}),
    "imagenet9_bg": (
        "9-class ImageNet of Xiao et al., tested on other backgrounds too.",
        {"data": {"name": "imagenet9_bg"}},
    ),
    "nicopp": ("NICO++: 60 classes, with the context as bias.", {"data": {"name": "nicopp"}}),
    "custom": ("Images of your own: data.csv=PATH names them.", {"data": {"name": "custom"}}),
    "reverse": ("Swap target and bias: learn the colour, with the digit as bias.", {"data": {"reverse": True}}),
    "published": (
        "The authors' split, and selection on the test images (labelled so), by one rule for all methods.",
        {"data": {"protocol": "published"}},
    ),
    "iid": (
        "Validation images with the bias of the training images; default rules do not use their bias labels.",
        {"data": {"protocol": "iid"}},
    ),
    # training
    "adam": (
        "LfF's Adam: learning rate 1e-3, no weight decay.",
        {"method": {"hparams": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0}}},
    ),
    "adamw": (
        "LfF's AdamW: learning rate 1e-3, weight decay 5e-3.",
        {"method": {"hparams": {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 5e-3}}},
    ),
    "log_epochs": (
        "Count in epochs: 100 of them (or epochs=N), evaluated and recorded after each.",
        {"method": {"hparams": {"epochs": 100, "num_steps": None}}, "evaluate_every": 1},
    ),
    "smoke": (
        "A few steps of every phase, evaluated on 500 images of each split, to see that it runs.",
        {"method": {"hparams": {"num_steps": 20, "epochs": None}}, "evaluate_images": 500},
    ),
    # place
    "server_user": (
        "Data and records in the folders of the environment variables DEBIAS_DATA and DEBIAS_LOGS.",
        {"data": {"root": os.environ.get("DEBIAS_DATA", "data")}, "log_dir": os.environ.get("DEBIAS_LOGS", "runs")},
    ),
}

for _name, (_purpose, _settings) in NAMED_CONFIGS.items():
    ex.add_named_config(_name, _settings)
    ex.named_configs[_name].__doc__ = _purpose
