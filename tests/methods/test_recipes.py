"""Every method can be built and trained with each of its recipes, on images of the data set's kind."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from debiaslab.core.settings import default_settings, setting_names, settings
from debiaslab.datasets import DATASETS
from debiaslab.datasets.base import KINDS
from debiaslab.methods import METHODS, Batch, Method, Task
from debiaslab.methods.disent import DisEnt
from debiaslab.methods.lff import LfF
from debiaslab.methods.phase import set_modes
from debiaslab.models import MODELS, Networks, architecture, default_model_hparams
from debiaslab.models.pretrained import require_weights
from debiaslab.settings.recipes import recipes_of
from tests.methods.building import recipe_of

ROOT = Path(__file__).parents[2]
DIGITS = ("digits", "colored_mnist", "cmnist", "biased_mnist")
CIFAR = ("corrupted_cifar10", "cifar10c")
CLIPS = ("kinetics10", "kinetics50")
PHOTOGRAPHS = ("bffhq", "dogs_and_cats", "bar", "celeba", "waterbirds", "urbancars", "imagenet9", "custom")
LFF_FAMILY = ("erm", "lff", "disent", "lff_be", "disent_be", "denetdm")
REBIAS_FAMILY = ("erm", "vanilla_biased", "rebias", "rubi", "learned_mixin")
NUM_CLASSES, NUM_BIASES, NUM_IMAGES = 3, 2, 6

RECIPES = [(m, d, r) for m in sorted(METHODS) for d, recipes in METHODS[m].RECIPES.items() for r in recipes]


def image_shape(dataset: str) -> tuple[int, ...]:
    """Small images where the networks take any size: photographs are 224x224, clips too."""
    if dataset in CLIPS:
        return (3, 8, 32, 32)
    sizes = dict.fromkeys(DIGITS, 28) | dict.fromkeys(CIFAR, 32) | dict.fromkeys(PHOTOGRAPHS, 48)
    return (3, sizes[dataset], sizes[dataset])


def built(method: str, dataset: str, recipe: str, model: str | None = None, **hparams: Any) -> Method:
    """As a run without pretrained weights builds it."""
    resolved = recipe_of(method, dataset, recipe)
    name = model or resolved.recipe.model
    chosen = architecture(name, default_model_hparams(name) | resolved.model_hparams(name))
    require_weights(name, chosen, resolved.pretrained(name))
    config = settings(METHODS[method].Config, {**resolved.defaults, **hparams}, "")
    networks = Networks(chosen, image_shape(dataset), NUM_CLASSES, seed=1)
    index = torch.arange(NUM_IMAGES)
    bias = index % NUM_BIASES if METHODS[method].needs_bias else None
    return METHODS[method](config, networks, Task(NUM_CLASSES, index % NUM_CLASSES, 1, bias, NUM_BIASES))


def batch_for(method: Method, dataset: str, step: int) -> Batch:
    index = torch.arange(NUM_IMAGES)
    image = torch.rand(NUM_IMAGES, *image_shape(dataset), generator=torch.Generator().manual_seed(step))
    return Batch(image, index % NUM_CLASSES, index, step, index % NUM_BIASES if method.needs_bias else None)


@pytest.mark.parametrize("dataset", ["colored_mnist", *CIFAR, "bffhq", "dogs_and_cats", "cmnist", "bar", "custom"])
def test_the_family_of_lff_covers_its_data_sets(dataset: str) -> None:
    for method in LFF_FAMILY:
        assert dataset in METHODS[method].RECIPES, method


@pytest.mark.parametrize("dataset", ["biased_mnist", "imagenet9", *CLIPS, "custom"])
def test_the_family_of_rebias_covers_its_data_sets(dataset: str) -> None:
    for method in REBIAS_FAMILY:
        assert dataset in METHODS[method].RECIPES, method


def test_further_data_sets() -> None:
    assert all("celeba" in METHODS[method].RECIPES for method in ("erm", "lff", "denetdm", "end"))
    assert all("custom" in METHODS[method].RECIPES for method in METHODS)


def distinct() -> dict[str, tuple[str, str, str]]:
    """Of the recipes of a method that have the same networks and phases, the first."""
    chosen: dict[str, tuple[str, str, str]] = {}
    for method, dataset, recipe in RECIPES:
        resolved = recipe_of(method, dataset, recipe)
        networks = resolved.recipe.model, resolved.recipe.model_hparams
        chosen.setdefault(str((method, networks, resolved.defaults.get("hand_over"))), (method, dataset, recipe))
    return chosen


@pytest.mark.parametrize(("method", "dataset", "recipe"), distinct().values())
def test_each_phase_trains_its_networks(method: str, dataset: str, recipe: str) -> None:
    network = built(method, dataset, recipe)
    trainable = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    held: list[int] = []
    optimizers = {id(o): o for phase in network.phases() for o in phase.optimizers.values()}
    for optimizer in optimizers.values():
        held += [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(trainable)
    phases = {phase.name.rstrip("0123456789"): phase for phase in network.phases()}  # of five classifiers, one
    for step, phase in enumerate(phases.values()):
        batch = batch_for(network, dataset, step)
        if phase.begin is not None:
            phase.begin(iter([batch]), iter([replace(batch, bias=batch.index % NUM_BIASES)]))
        set_modes(network, phase)
        scalars = phase.update(batch)
        assert all(torch.isfinite(scalar) for scalar in scalars.values())
        network.eval()
        for logits in phase.logits(batch.image[:2]).values():
            assert logits.shape == (2, NUM_CLASSES)
            assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("method", "dataset", "recipe"), RECIPES)
def test_settings_of_all_recipes(method: str, dataset: str, recipe: str) -> None:
    chosen, config = METHODS[method].RECIPES[dataset][recipe], METHODS[method].Config
    percents: list[float | None] = [None, *chosen.by_percent]
    for percent in percents:
        settings(config, recipe_of(method, dataset, recipe, "published", percent).defaults, "")
        assert set(chosen.hparams_at(percent)) <= set(setting_names(config))
    model = architecture(chosen.model, default_model_hparams(chosen.model) | dict(chosen.model_hparams))
    require_weights(chosen.model, model, chosen.pretrained)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_settings_for_data_without_a_published_recipe(method: str, kind: str) -> None:
    if kind not in METHODS[method].UNPUBLISHED:
        assert (method, kind) == ("denetdm", "clips")  # which has no such branches
        return
    recipe = METHODS[method].UNPUBLISHED[kind]
    assert recipe.source.startswith("none published: ")
    config = METHODS[method].Config
    settings(config, default_settings(config) | dict(recipe.hparams), "")
    model = architecture(recipe.model, default_model_hparams(recipe.model) | dict(recipe.model_hparams))
    require_weights(recipe.model, model, recipe.pretrained)
    assert model.takes_clips == (kind == "clips")


@pytest.mark.parametrize(
    ("method", "dataset"), [("rebias", "colored_mnist"), ("end", "corrupted_cifar10"), ("lff", "kinetics10")]
)
def test_a_method_on_data_that_it_was_not_published_on(method: str, dataset: str) -> None:
    resolved = recipe_of(method, dataset)
    assert (resolved.name, resolved.recipe) == ("debiaslab", METHODS[method].UNPUBLISHED[DATASETS[dataset].KIND])
    network = built(method, dataset, "debiaslab")
    phase = network.phases()[0]
    set_modes(network, phase)
    assert phase.update(batch_for(network, dataset, 0))["loss"].isfinite()


def test_a_published_recipe_is_not_replaced() -> None:
    for method, cls in METHODS.items():
        for dataset in DATASETS:
            if dataset in cls.RECIPES:
                assert recipes_of(cls, dataset) == cls.RECIPES[dataset], method


# ---- numbers of methods.md's tables, where they are not those of a neighbouring row


@pytest.mark.parametrize("dataset", CIFAR)
@pytest.mark.parametrize(
    ("percent", "rate", "align"),
    [
        (0.5, 5e-4, 1),
        (1, 1e-3, 5),
        (2, 1e-3, 5),
        (5, 1e-3, 1),
        (3, 1e-3, 5),
        (90, 1e-3, 1),
        (0, 5e-4, 1),
        (None, 1e-3, 5),
    ],
)
def test_disent_on_corrupted_cifar10(dataset: str, percent: float | None, rate: float, align: float) -> None:
    """A percentage in between takes the nearest one's settings."""
    for method, recipe in (("disent", "lee2021"), ("disent_be", "debiaslab")):
        hparams = recipe_of(method, dataset, recipe, percent=percent).defaults
        assert (hparams["learning_rate"], hparams["lambda_dis_align"]) == (rate, align)
        assert (hparams["lambda_swap_align"], hparams["lambda_swap"], hparams["lr_gamma"]) == (align, 1, 0.5)
    assert recipe_of("lff", dataset, "lee2021", percent=percent).defaults["learning_rate"] == rate
    assert recipe_of("erm", dataset, "lee2021", percent=percent).defaults["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("method", "dataset", "expected"),
    [
        ("lff", "corrupted_cifar10", {"learning_rate": 1e-3, "batch_size": 256, "num_steps": 39_200}),
        ("lff", "celeba", {"learning_rate": 1e-4, "weight_decay": 1e-4, "batch_size": 256, "num_steps": 127_200}),
        ("lff", "bar", {"learning_rate": 1e-5, "batch_size": 64, "num_steps": 50_000, "drop_last": True}),
        ("disent", "bffhq", {"learning_rate": 1e-4, "lambda_dis_align": 2, "lambda_swap": 0.1, "lr_gamma": 0.1}),
        (
            "disent_be",
            "dogs_and_cats",
            {"learning_rate": 1e-4, "lambda_swap_align": 1, "lambda_swap": 1, "lr_gamma": 0.1},
        ),
        (
            "denetdm",
            "corrupted_cifar10",
            {"batch_size": 256, "weight_decay": 1e-3, "epochs": 100, "distill_epochs": 200},
        ),
        ("denetdm", "bffhq", {"batch_size": 64, "weight_decay": 0, "epochs": 10, "distill_weight": 0}),
        ("denetdm", "bar", {"batch_size": 256, "weight_decay": 1e-3, "distill_learning_rate": 1e-4}),
        ("rebias", "imagenet9", {"batch_size": 128, "learning_rate": 1e-3, "sigma": "median", "lr_schedule": "cosine"}),
        ("rebias", "kinetics50", {"batch_size": 128, "learning_rate": 0.1, "sigma": 1, "weight_decay": 1e-4}),
        ("erm", "urbancars", {"optimizer": "sgd", "learning_rate": 1e-3, "weight_decay": 1e-4, "batch_size": 128}),
        ("jtt", "urbancars", {"learning_rate": 1e-3, "weight_decay": 1e-4, "identify_epochs": 1, "copies": 100}),
        ("learned_mixin", "imagenet9", {"epochs": 120, "pretrain_epochs": 30, "n_g_update": 0}),
    ],
)
def test_published_settings(method: str, dataset: str, expected: dict[str, Any]) -> None:
    hparams = recipe_of(method, dataset).defaults
    assert {name: hparams[name] for name in expected} == expected


def test_which_recipes_start_from_imagenet() -> None:
    pretrained = {
        (method, dataset)
        for method, dataset, recipe in RECIPES
        if METHODS[method].RECIPES[dataset][recipe].pretrained == "imagenet"
    }
    denetdm = {("denetdm", name) for name in (*CIFAR, "bffhq", "dogs_and_cats", "bar", "celeba")}
    bar = {(method, "bar") for method in LFF_FAMILY}
    celeba = {(method, "celeba") for method in ("erm", "lff", "end")}
    groups = {(method, name) for method in ("group_dro", "dfr", "afr", "jtt") for name in ("celeba", "waterbirds")}
    assert pretrained == denetdm | bar | celeba | groups | {
        ("erm", "waterbirds"),
        ("lc", "waterbirds"),
        ("erm", "urbancars"),
        ("jtt", "urbancars"),
    }
    assert recipe_of("lff", "bar", "lee2023").pretrained("resnet18") == "imagenet"
    assert recipe_of("lff", "bar", "lee2023").pretrained("resnet20") == "none"


def test_features_and_heads_of_disent() -> None:
    for model, features in (("resnet18", 512), ("resnet20", 64)):  # their use_resnet20
        disent = built("disent", "corrupted_cifar10", "lee2021", model)
        assert isinstance(disent, DisEnt)
        assert disent.intrinsic_encoder.feature_dim == features
        assert disent.intrinsic_head.in_features == disent.bias_head.in_features == 2 * features
        scalars = disent.update(batch_for(disent, "corrupted_cifar10", disent.config.curr_step + 1))
        assert scalars["swap_conflict"].isfinite()


def test_denetdm_without_distillation() -> None:
    """As on CelebA: the shallow branch of the separation predicts; and with it, if the user asks for it."""
    network = built("denetdm", "celeba", "sreelatha2024")
    assert [phase.name for phase in network.phases()] == ["separate"]
    image = batch_for(network, "celeba", 0).image
    phase = network.phases()[0]
    network.eval()
    assert network.predict(image).equal(phase.logits(image)["shallow"])
    assert not any("target" in name for name, _ in network.named_parameters())
    whole = built("denetdm", "celeba", "sreelatha2024", hand_over="last")
    assert [phase.name for phase in whole.phases()] == ["separate", "distill"]


def test_a_frozen_network_is_in_no_optimizer_and_stays() -> None:
    network = built("lff", "celeba", "nam2020")
    assert isinstance(network, LfF)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    network.phases()[0].update(batch_for(network, "celeba", 0))
    moved = {name for name, value in network.state_dict().items() if not value.equal(before[name])}
    learnt = {name for name in moved if name in dict(network.named_parameters())}
    assert learnt == {f"{branch}.head.{part}" for branch in ("biased", "debiased") for part in ("weight", "bias")}
    assert "biased.encoder.body.bn1.running_mean" in moved  # as in LfF's code


def test_the_documentation_lists_every_recipe() -> None:
    """The first table of docs/methods/recipes.md: a row for each data set, a column for each method or family."""
    text = (ROOT / "docs" / "methods" / "recipes.md").read_text()
    header, _, *rows = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
    methods = [re.findall(r"`(\w+)`", cell) for cell in header[1:]]
    assert sorted(itertools.chain(*methods)) == sorted(METHODS)
    listed: dict[tuple[str, str], list[str]] = {}
    for row in itertools.takewhile(lambda row: len(row) == len(header), rows):
        for names, cell in zip(methods, row[1:], strict=True):
            listed |= {(name, row[0].strip(" `")): re.findall(r"\w+", cell) for name in names}
    recipes = {(name, dataset): list(own) for name in METHODS for dataset, own in METHODS[name].RECIPES.items()}
    assert {key: names for key, names in listed.items() if names} == recipes


def test_the_documentation_lists_every_network() -> None:
    text = (ROOT / "docs" / "models.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    documented = {row[1].strip(" `"): set(re.findall(r"`(\w+)`", row[5])) for row in rows[1:] if len(row) == 8}
    assert documented == {name: set(default_model_hparams(name)) for name in MODELS}
