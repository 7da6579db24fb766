"""Declarations of settings that several methods share."""

from typing import Any

from debiaslab.core.settings import must_be, positive, setting


def gce_exponent() -> Any:
    return setting(
        0.7,
        "exponent of generalised cross-entropy; as it goes to 0, the loss becomes cross-entropy",
        must_be("above 0, at most 1", lambda q: 0 < q <= 1),
    )


def running_loss_decay() -> Any:
    return setting(0.7, "decay of each sample's running loss", must_be("0 or more, below 1", lambda d: 0 <= d < 1))


def drop_last_setting(default: bool) -> Any:
    return setting(default, "drop the last, incomplete batch of each epoch")


def outer_loss_weight() -> Any:
    return setting(1.0, "weight of the loss of f and the head, `f_lambda_outer` of ReBias's code", positive, before=1.0)


def train_head_setting() -> Any:
    return setting(True, "train the additional head; False: keep its initial weights, as in the published code")
