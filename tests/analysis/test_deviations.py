"""Tests of deviations from recipes."""

import pytest

from debiaslab.analysis.deviations import deviations
from debiaslab.config import ex
from debiaslab.methods import METHODS
from debiaslab.recording.configuration import configuration


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_no_recipe_differs_from_itself(method: str) -> None:
    """Of another length, or with other batches, it differs in that alone, whatever is fit to it."""
    for dataset, recipes in METHODS[method].RECIPES.items():
        for recipe in recipes:
            words = [dataset, f"method={method}", f"method.recipe={recipe}"]
            assert deviations(configuration(ex, words)) == ()
            assert deviations(configuration(ex, [*words, "published"])) == ()
            found = deviations(
                configuration(ex, [*words, "epochs=2", "method.hparams.batch_size=8", "start_from=runs/x"])
            )
            assert {each.text for each in found} == {"epochs 2", "batch_size 8", "start_from runs/x"}
