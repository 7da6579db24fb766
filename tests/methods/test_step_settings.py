"""Settings that count steps shrink with the length of training."""

from typing import Any

import pytest

from debiaslab.methods.defaults import default_hparams, shortened_steps


def shortened(**hparams: Any) -> dict[str, Any]:
    """What differs from the settings without shortening."""
    defaults = default_hparams("disent_be", "colored_mnist", "lee2023", "holdout")
    return changes("disent_be", "colored_mnist", defaults, hparams)


def changes(method: str, dataset: str, defaults: dict[str, Any], hparams: dict[str, Any]) -> dict[str, Any]:
    wanted = {**defaults, **hparams}
    found = shortened_steps(method, dataset, defaults, wanted)
    assert found.keys() == wanted.keys()
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
    defaults = {
        **default_hparams("disent", "colored_mnist", "lee2021", "holdout"),
        "lr_decay_step": None,
        "curr_step": 0,
    }
    assert changes("disent", "colored_mnist", defaults, {"num_steps": 100}) == {}


def test_methods_without_such_settings() -> None:
    defaults = default_hparams("erm", "digits", "debiaslab", "holdout")
    assert changes("erm", "digits", defaults, {"epochs": 1}) == {}


def test_what_the_user_sets_stays() -> None:
    assert shortened(num_steps=5_000, curr_step=7, ensemble_steps=300) == {
        "ensemble_check_steps": 50,
        "lr_decay_step": 1_000,
    }


def test_no_settings_at_all_are_left_for_the_check_to_refuse() -> None:
    defaults = default_hparams("disent", "digits", "debiaslab", "holdout")
    assert shortened_steps("disent", "digits", defaults, 5) == 5
