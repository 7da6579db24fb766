"""Errors that a user can mend, and the "did you mean" that helps to."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A user's mistake or a fault of their machine: one line that names the value, what is allowed, and the fix."""


class TrainingDiverged(Exception):
    """A loss became infinite or not-a-number; training cannot go on."""


def one_of(options: Iterable[str]) -> str:
    return ", ".join(sorted(options))


def suggestion(name: str, options: Iterable[str]) -> str:
    """`"; did you mean 'denetdm'?"` for the option nearest to `name`, or an empty string where none is near."""
    near = get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ";"


def require_known(kind: str, name: str, options: Iterable[str], prefix: str = "") -> None:
    """Raise `UserError` unless `name` is one of `options`; `kind` is what the name stands for ("method").

    `prefix` is what the user types before the name ("method.hparams.").
    """
    options = list(options)
    if name not in options:
        raise UserError(
            f"unknown {kind} {prefix + str(name)!r}{suggestion(str(name), options)} one of {one_of(options)}"
        )
