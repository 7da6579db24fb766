"""Published settings by paper, for all methods that the paper compares, and ours where none are published."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from debiaslab.methods.recipes import Recipe, name_recipes, stand_ins, steps

# ---- Nam et al., NeurIPS 2020: LfF and the baseline

NAM = {
    "colored_mnist": Recipe("LfF code, colored_mnist", "mlp", {"input_scale": 1 / 255}, steps(235 * 100)),
    "corrupted_cifar10": Recipe("LfF code, corrupted_cifar10", "resnet20", {}, steps(196 * 200)),
    "celeba": Recipe(
        "LfF code, celeba: the last layer alone is trained, and batch norm uses the statistics of the batches",
        "resnet18",
        {"frozen": True, "fixed_statistics": False},
        {"learning_rate": 1e-4, "weight_decay": 1e-4, **steps(636 * 200)},
        pretrained="imagenet",
    ),
}

# ---- Lee et al., NeurIPS 2021 (DisEnt) and AAAI 2023 (BiasEnsemble): shared by all methods in their tables

_COLORED_DIGITS = Recipe(
    "DisEnt and BiasEnsemble code, cmnist",
    "mlp",
    {"widths": [100, 100, 16], "input_scale": 1 / 255},
    {"learning_rate": 0.01, **steps(50_000)},
)
_CORRUPTED = Recipe(
    "DisEnt code, cifar10c",
    "resnet18",
    hparams=steps(50_000),
    by_percent={0.5: {"learning_rate": 5e-4}, 1: {}, 2: {}, 5: {}},
)
_PHOTOGRAPHS = Recipe(
    "DisEnt and BiasEnsemble code, bffhq",
    "resnet18",
    hparams={"batch_size": 64, "learning_rate": 1e-4, **steps(50_000)},
)
LEE = {"colored_mnist": _COLORED_DIGITS, "cmnist": _COLORED_DIGITS, "bffhq": _PHOTOGRAPHS}  # in both papers
LEE_2021 = {"cifar10c": _CORRUPTED, "corrupted_cifar10": _CORRUPTED}
LEE_2021_BASELINE = {name: replace(recipe, by_percent={}) for name, recipe in LEE_2021.items()}  # one rate for all
LEE_2023 = {
    "dogs_and_cats": replace(_PHOTOGRAPHS, source="BiasEnsemble code, dogs_and_cats"),
    "bar": replace(_PHOTOGRAPHS, source="BiasEnsemble code, bar", pretrained="imagenet").with_hparams(
        learning_rate=1e-5
    ),
}


def loss_weights(align: float, swap: float = 1.0) -> dict[str, float]:
    return {"lambda_dis_align": align, "lambda_swap_align": align, "lambda_swap": swap}


# settings of DisEnt, with or without BiasEnsemble, in addition to those, where they differ from the defaults
DISENT: dict[str, dict[str, Any]] = {
    "digits": {"curr_step": 500, "lr_decay_step": 500},
    "cifar10c": loss_weights(5.0),
    "corrupted_cifar10": loss_weights(5.0),
    "bffhq": {**loss_weights(2.0, swap=0.1), "lr_gamma": 0.1},
    "dogs_and_cats": {**loss_weights(1.0), "lr_gamma": 0.1},
    "bar": {**loss_weights(1.0), "lr_gamma": 0.1},
    "custom": {**loss_weights(1.0), "lr_gamma": 0.1, "curr_step": 2_000, "lr_decay_step": 2_000},
    # for other data, by kind of image
    "small images": loss_weights(5.0),
    "photographs": {**loss_weights(1.0), "lr_gamma": 0.1, "curr_step": 2_000, "lr_decay_step": 2_000},
    "clips": {**loss_weights(1.0), "lr_gamma": 0.1, "curr_step": 4_000, "lr_decay_step": 4_000},
}
DISENT_ALIGN = {0.5: 1.0, 1: 5.0, 2: 5.0, 5: 1.0}  # on Corrupted CIFAR-10, by percent of bias-conflicting images


def for_disent(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Add DisEnt's own settings to `recipes`, which are keyed by data set."""
    return {
        dataset: replace(
            recipe.with_hparams(**DISENT.get(dataset, {})),
            by_percent={
                percent: {**rates, **loss_weights(DISENT_ALIGN[percent])}
                for percent, rates in recipe.by_percent.items()
            },
        )
        for dataset, recipe in recipes.items()
    }


# ---- Bahng et al., ICML 2020 (ReBias): the networks f and g, and the settings of all methods in their tables

_IMAGES = Recipe(
    "ReBias code, ImageNet",
    "resnet18_bagnet18",
    hparams={"weight_decay": 1e-4, "batch_size": 128, "epochs": 120, "lr_schedule": "cosine"},
)
_CLIPS = replace(_IMAGES, source="ReBias code, Kinetics", model="resnet18_3d").with_hparams(learning_rate=0.1)
BAHNG = {
    "biased_mnist": Recipe(
        "ReBias code, Biased MNIST",
        "simple_conv",
        hparams={"weight_decay": 1e-4, "epochs": 80, "lr_schedule": "step", "lr_decay_epochs": 20},
    ),
    "imagenet9": _IMAGES,
    "kinetics10": _CLIPS,
    "kinetics50": _CLIPS,
}

# ---- Sreelatha et al., NeurIPS 2024: DeNetDM

_LONGER = {"epochs": 100, "distill_epochs": 200, "distill_learning_rate": 1e-4}
SREELATHA = {
    "colored_mnist": Recipe("DeNetDM paper, appendix, and code", "mlp_branches", hparams={"epochs": 100}),
    "corrupted_cifar10": Recipe(
        "DeNetDM paper, appendix, and code",
        "conv_branches",
        {"shallow": "conv3", "deep": "resnet20", "width": 64},
        {"batch_size": 256, **_LONGER},
        pretrained="imagenet",
    ),
    "bffhq": Recipe(
        "DeNetDM paper, appendix, and code",
        "conv_branches",
        hparams={
            "weight_decay": 0.0,
            "epochs": 10,
            "distill_epochs": 100,
            "distill_learning_rate": 1e-4,
            "distill_weight": 0.0,
        },
        pretrained="imagenet",
    ),
    "bar": Recipe(
        "DeNetDM paper, table 12; the networks of bffhq",
        "conv_branches",
        hparams={"batch_size": 256, **_LONGER},
        pretrained="imagenet",
    ),
    "celeba": Recipe(
        "DeNetDM code: networks, and the rates of an earlier state of it; no distillation",
        "conv_branches",
        {"pretrained_roles": ["deep", "target"]},
        {
            "learning_rate": 1e-4,
            "weight_decay": 1e-4,
            "epochs": 50,
            "hand_over": None,
            "distill_learning_rate": 1e-4,
        },
        pretrained="imagenet",
    ),
}

# ---- Sagawa et al., ICLR 2020 (Group DRO and the baseline); the networks and lengths of those that followed


def _resnet50(source: str, **hparams: Any) -> Recipe:
    """All layers of an ImageNet ResNet-50, with SGD."""
    return Recipe(source, "resnet50", hparams={"optimizer": "sgd", **hparams}, pretrained="imagenet")


SAGAWA = {
    "waterbirds": _resnet50(
        "Group DRO code, Waterbirds", learning_rate=1e-3, weight_decay=1e-4, batch_size=128, epochs=300
    ),
    "celeba": _resnet50("Group DRO code, CelebA", learning_rate=1e-4, weight_decay=1e-4, batch_size=128, epochs=50),
}
LIU = {  # JTT
    "waterbirds": _resnet50(
        "JTT code, Waterbirds; the batch size is not in it",
        learning_rate=1e-5,
        weight_decay=1.0,
        batch_size=64,
        epochs=300,
        identify_epochs=60,
        copies=100,
    ),
    "celeba": _resnet50(
        "JTT code, CelebA; the batch size is not in it",
        learning_rate=1e-5,
        weight_decay=0.1,
        batch_size=128,
        epochs=50,
        identify_epochs=1,
        copies=50,
    ),
}
LIU_2023 = {  # LC
    "waterbirds": _resnet50(
        "LC code, Waterbirds; the length is not in it",
        optimizer="sgd_without_momentum",
        learning_rate=1e-3,
        weight_decay=1e-4,
        batch_size=32,
        epochs=100,
        lr_schedule="step",
        lr_decay_epochs=50,
        curr_step=7_500,  # 50 epochs
        lambda_dis_align=2.0,
        ema_alpha=0.5,
        tau=0.1,
        q=0.8,
        avg_type="batch",
    )
}
KIRICHENKO = {  # DFR
    "waterbirds": _resnet50("DFR code, Waterbirds", learning_rate=1e-3, weight_decay=1e-3, batch_size=32, epochs=100),
    "celeba": _resnet50(
        "DFR code, CelebA",
        learning_rate=1e-3,
        weight_decay=1e-4,
        batch_size=128,
        epochs=50,
        penalties=(3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003),
    ),
}
QIU = {  # AFR
    "waterbirds": _resnet50("AFR code, Waterbirds", learning_rate=3e-3, weight_decay=1e-4, batch_size=32, epochs=50),
    "celeba": _resnet50(
        "AFR code, CelebA",
        learning_rate=3e-3,
        weight_decay=1e-4,
        batch_size=100,
        epochs=20,
        lr_schedule="cosine",
        gamma=1.44,
        penalty=0.001,
        retrain_steps=1_000,
        retrain_learning_rate=0.02,
    ),
}

LI = {  # Li et al., CVPR 2023: all methods on their UrbanCars
    "urbancars": _resnet50(
        "Whac-A-Mole code, UrbanCars", learning_rate=1e-3, weight_decay=1e-4, batch_size=128, epochs=300
    )
}

# ---- ours: scikit-learn's digits in seconds; the user's own images, like photographs above for a fifth of the steps

DIGITS = {
    "digits": Recipe(
        "ours: chosen on validation images to show the effect in seconds",
        "mlp",
        {"widths": [100], "input_scale": 1 / 8},
        {"learning_rate": 2e-3, "batch_size": 32, **steps(1_500)},
    )
}
OWN_IMAGES = {"custom": replace(_PHOTOGRAPHS, source="default for own images").with_hparams(**steps(10_000))}
OWN_PAIRS = {"custom": replace(OWN_IMAGES["custom"], model="resnet18_bagnet18")}  # of f and g
OWN_BRANCHES = {
    "custom": Recipe(
        "default for own images: the networks of bffhq",
        "conv_branches",
        hparams={"weight_decay": 0.0, **steps(2_000), "distill_steps": 10_000, "distill_learning_rate": 1e-4},
    )
}

# ---- ours for all other data, by kind of image (`datasets.base.KINDS`): the networks of related data

# one architecture for all networks; a constant learning rate, which all methods support
ANY_OF_NAM = {
    "digits": NAM["colored_mnist"],
    "small images": NAM["corrupted_cifar10"],
    "photographs": OWN_IMAGES["custom"],
    "clips": Recipe(
        "ReBias code, Kinetics, at a constant rate",
        "resnet18_3d",
        hparams={"weight_decay": 1e-4, "batch_size": 128, **steps(20_000)},
    ),
}
ANY_OF_LEE = ANY_OF_NAM | {"digits": _COLORED_DIGITS, "small images": replace(_CORRUPTED, by_percent={})}
ANY_OF_BAHNG = {  # pairs of f and g
    "digits": BAHNG["biased_mnist"],
    "small images": _IMAGES,
    "photographs": OWN_PAIRS["custom"],
    "clips": _CLIPS,
}
ANY_OF_SREELATHA = {  # branches
    "digits": SREELATHA["colored_mnist"],
    "small images": replace(SREELATHA["corrupted_cifar10"], pretrained="none"),
    "photographs": OWN_BRANCHES["custom"],
}

# ---- ours for methods that are ERM but for the loss or the choice of images: the settings of ERM

AS_ERM = name_recipes("debiaslab", DIGITS | OWN_IMAGES)
AS_ERM_ELSEWHERE = stand_ins(ANY_OF_NAM)
