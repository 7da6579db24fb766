"""Settings that count steps shrink with the length of training."""

from typing import Any

import pytest

from tests.methods.building import recipe_of


def shortened(method: str = "disent_be", dataset: str = "colored_mnist", **own: Any) -> dict[str, Any]:
    """What differs from the recipe's settings beside the user's `own`."""
    recipe = recipe_of(method, dataset)
    found = recipe.hparams(own)
    assert found.keys() == recipe.defaults.keys()
    lengths = {"epochs": None, "num_steps": None} if own else {}
    wanted = {**recipe.defaults, **lengths, **own}
    return {name: value for name, value in found.items() if value != wanted[name]}


def test_in_proportion_to_the_steps() -> None:
    assert shortened(num_steps=5_000) == {
        "ensemble_steps": 100,
        "ensemble_check_steps": 50,
        "curr_step": 1_000,
        "lr_decay_step": 1_000,
    }


def test_never_to_nothing() -> None:
    assert shortened(num_steps=20) == {
        "ensemble_steps": 1,
        "ensemble_check_steps": 1,
        "curr_step": 4,
        "lr_decay_step": 4,
    }


def test_epochs_count_as_the_steps_that_they_have() -> None:
    """10 epochs of 60,000 images in batches of 256 are 2,344 of 50,000 steps."""
    assert shortened(epochs=10, num_steps=None)["curr_step"] == pytest.approx(469)


@pytest.mark.parametrize(
    "hparams", [{}, {"num_steps": 80_000}, {"epochs": 1_000, "num_steps": None}, {"num_steps": 0}, {"num_steps": "x"}]
)
def test_a_longer_or_impossible_run_changes_nothing(hparams: dict[str, Any]) -> None:
    assert shortened(**hparams) == {}


def test_what_is_switched_off_stays_off() -> None:
    assert shortened("disent", num_steps=100, lr_decay_step=None, curr_step=0) == {}


def test_methods_without_such_settings() -> None:
    assert shortened("erm", "digits", epochs=1) == {}


def test_what_the_user_sets_stays() -> None:
    """Also where it is what the recipe has."""
    assert shortened(num_steps=5_000, curr_step=7, ensemble_steps=1_000) == {
        "ensemble_check_steps": 50,
        "lr_decay_step": 1_000,
    }


def test_no_settings_at_all_are_left_for_the_check_to_refuse() -> None:
    assert recipe_of("disent", "digits").hparams(5) == 5
