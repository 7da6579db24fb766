"""Settings that several methods have, each with what is said of it there."""

from typing import Any

from debiaslab.core.settings import must_be, positive, setting


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


def outer_loss_weight() -> Any:
    return setting(1.0, "weight of the loss of f and the head, `f_lambda_outer` of ReBias's code", positive, before=1.0)


def train_head_setting() -> Any:
    return setting(True, "train the head on the biased features; False: as in the published code")
