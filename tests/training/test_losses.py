"""Mean losses that are read now and then."""

import pytest
import torch

from debiaslab.core.errors import TrainingDiverged
from debiaslab.training.losses import LossSums


def test_means_are_those_of_all_steps_so_far() -> None:
    sums = LossSums()
    for step in range(1, 5):
        sums.add({"loss": torch.tensor(float(step)), "term": torch.tensor(2.0)})
        if step % 2 == 0:
            assert sums.means("train", step) == {"loss": (1 + step) / 2, "term": 2.0}
    assert sums.count == 4
    assert sums.means("train", 4) == {"loss": 2.5, "term": 2.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_step_that_is_not_finite_is_noticed(value: float) -> None:
    sums = LossSums()
    for loss in (1.0, value, 1.0):
        sums.add({"loss": torch.tensor(loss)})
    for _ in range(2):
        with pytest.raises(TrainingDiverged, match=r"loss is (nan|inf|-inf) in phase train at or before step 3"):
            sums.means("train", 3)
