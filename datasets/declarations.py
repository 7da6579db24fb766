"""Declarations of settings that several data sets share."""

from typing import Any

from debiaslab.core.settings import choice, must_be, setting


def skew_setting(default: float, **declared: Any) -> Any:
    return setting(
        default,
        "fraction of bias-conflicting training images",
        must_be("between 0 and 1, both excluded", lambda skew: 0 < skew < 1),
        label=True,
        percent=lambda skew: 100 * skew,
        **declared,
    )


def percent_setting(default: float, percents: tuple[float, ...], note: str = "") -> Any:
    return setting(
        default,
        f"percentage of bias-conflicting training images{note}",
        choice(percents),
        label=True,
        percent=lambda percent: percent,
    )


def arrays_setting(instead: str) -> Any:
    help = f"an existing LfF/DeNetDM array folder to read instead of {instead}"
    return setting(None, help, label=True, published=False)


def reverse_setting(roles: str) -> Any:
    return setting(False, f"swap the roles of {roles}", label="target and bias swapped")
