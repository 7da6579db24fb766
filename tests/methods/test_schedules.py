from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from debiaslab.methods.schedules import ScheduledConfig
from tests.methods.building import recipe_of

STEPS_PER_EPOCH = 3


def theirs(scheduler: Any, num_epochs: int, **settings: Any) -> list[float]:
    """The factor of every step by a scheduler of PyTorch that is stepped once per epoch."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = scheduler(optimizer, **settings)
    factors = []
    for _ in range(num_epochs):
        factors += [optimizer.param_groups[0]["lr"]] * STEPS_PER_EPOCH
        optimizer.step()
        schedule.step()
    return factors


def ours(config: ScheduledConfig, num_epochs: int) -> list[float]:
    factor = config.learning_rate_factor()
    return [factor(step, STEPS_PER_EPOCH) for step in range(num_epochs * STEPS_PER_EPOCH)]


def test_step_decay_is_step_lr() -> None:
    config = ScheduledConfig(epochs=12, lr_schedule="step", lr_decay=0.1, lr_decay_epochs=5)
    assert ours(config, 12) == pytest.approx(theirs(StepLR, 12, step_size=5, gamma=0.1))


def test_step_decay_counted_in_steps() -> None:
    config = ScheduledConfig(epochs=None, num_steps=12, lr_schedule="step", lr_decay=0.5, lr_decay_steps=5)
    assert ours(config, 4) == [1.0] * 5 + [0.5] * 5 + [0.25] * 2


def test_cosine_is_cosine_annealing() -> None:
    expected = theirs(CosineAnnealingLR, 12, T_max=12)
    assert ours(ScheduledConfig(epochs=12, lr_schedule="cosine"), 12) == pytest.approx(expected)
    in_steps = ScheduledConfig(epochs=None, num_steps=12 * STEPS_PER_EPOCH - 1, lr_schedule="cosine")
    assert ours(in_steps, 12) == pytest.approx(expected)


def test_constant() -> None:
    assert set(ours(ScheduledConfig(), 5)) == {1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr_schedule": "linear"}, "lr_schedule='linear': must be one of constant, step, cosine"),
        ({"lr_schedule": "step"}, "lr_decay_epochs=None: must be set for lr_schedule=step, or lr_decay_steps"),
        ({"lr_schedule": "step", "lr_decay_epochs": 2, "lr_decay_steps": 2}, "lr_decay_epochs=2: must be set for"),
        ({"lr_decay_epochs": 0}, "lr_decay_epochs=0: must be positive"),
        ({"lr_decay": 0.0}, "lr_decay=0.0: must be positive"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        ScheduledConfig(**settings)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, (20, None, 5, None)),
        ({"epochs": 16}, (4, None, 1, None)),
        ({"epochs": 2}, (1, None, 1, None)),
        ({"epochs": 200}, (20, None, 5, None)),
        ({"epochs": None, "num_steps": 320}, (None, 80, None, 20)),
        ({"epochs": None, "num_steps": 1}, (None, 1, None, 1)),
        ({"epochs": 16, "pretrain_epochs": 3}, (4, None, 3, None)),
        ({"pretrain_steps": 7}, (20, None, None, 7)),
        ({"epochs": None, "num_steps": 320, "pretrain_epochs": None, "pretrain_steps": 7}, (None, 80, None, 7)),
    ],
)
def test_lengths_follow_the_length_of_training(
    own: dict[str, Any], expected: tuple[int | None, int | None, int | None, int | None]
) -> None:
    recipe = recipe_of("learned_mixin", "biased_mnist")
    hparams, defaults = recipe.hparams(own), dict(recipe.defaults)
    names = ("lr_decay_epochs", "lr_decay_steps", "pretrain_epochs", "pretrain_steps")
    assert tuple(hparams[name] for name in names) == expected
    assert {name: value for name, value in hparams.items() if name not in names} == {
        name: value for name, value in (defaults | own).items() if name not in names
    }


@pytest.mark.parametrize(
    ("dataset", "own", "expected"),
    [
        ("bffhq", {}, (100, None)),  # beside 10 epochs of separation
        ("bffhq", {"epochs": 5}, (50, None)),
        ("bffhq", {"epochs": None, "num_steps": 30}, (None, 300)),
        ("bffhq", {"epochs": 5, "distill_epochs": 7}, (7, None)),
        ("custom", {}, (None, 10_000)),  # beside 2,000 steps of separation
        ("custom", {"num_steps": 20}, (None, 100)),
        ("custom", {"num_steps": 4_000}, (None, 10_000)),
        ("custom", {"epochs": 20, "num_steps": None}, (100, None)),
        ("custom", {"distill_epochs": 3}, (3, None)),
        ("colored_mnist", {"epochs": 5}, (None, None)),  # as long as the separation
    ],
)
def test_the_length_of_distillation(dataset: str, own: dict[str, Any], expected: tuple[int | None, int | None]) -> None:
    hparams = recipe_of("denetdm", dataset).hparams(own)
    assert (hparams["distill_epochs"], hparams["distill_steps"]) == expected


def test_parts_on_data_of_unknown_size_shrink_with_the_steps() -> None:
    for method, part, expected in (("disent", "curr_step", 400), ("learned_mixin", "pretrain_steps", 100)):
        recipe = recipe_of(method, "custom")
        assert recipe.hparams({"num_steps": 2_000})[part] == expected
        assert recipe.hparams({"epochs": 3})["num_steps"] is None


def test_what_is_no_settings_is_left_to_others_to_refuse() -> None:
    recipe = recipe_of("learned_mixin", "biased_mnist")
    assert recipe.hparams(3) == 3
    assert recipe.hparams({"epochs": "many"})["epochs"] == "many"
