"""Settings that several methods have, each with what is said of it there."""

from typing import Any

from debiaslab.core.settings import must_be, setting


def gce_exponent() -> Any:
    return setting(
        0.7,
        "exponent of generalised cross-entropy; towards 0 it becomes cross-entropy",
        must_be("above 0, at most 1", lambda q: 0 < q <= 1),
    )


def running_loss_decay() -> Any:
    return setting(0.7, "decay of the running loss of each sample", must_be("0 or more, below 1", lambda d: 0 <= d < 1))


def leave_out_last(default: bool) -> Any:
    return setting(default, "leave out the last, smaller batch of an epoch")


def train_head_setting() -> Any:
    return setting(True, "train the head on the biased features; False: as in the published code")
