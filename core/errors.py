"""Errors for the user, and "did you mean" suggestions."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class UserError(Exception):
    """A user's mistake or a problem of their machine, in one line: the value, what is allowed, and the fix."""


class TrainingDiverged(Exception):
    """A loss became infinite or NaN, so training was stopped."""


# exit codes of a process that a signal has ended, and of one that another process of its run has left
INTERRUPTED, LEFT = 130, 3


class RankLost(Exception):
    """Another process of the run (`core.ranks`) has ended, so that this one cannot continue."""


def one_of(options: Iterable[str]) -> str:
    return ", ".join(sorted(options))


NOWHERE: Mapping[str, str] = {}


def suggestion(name: str, options: Iterable[str], elsewhere: Mapping[str, str] = NOWHERE) -> str:
    """`"; did you mean 'denetdm'?"` for the option closest to `name`, or ";" if none is close.

    `elsewhere` maps other names that the user may mean to what to suggest for them. Case is ignored: papers write "LfF"
    for lff.
    """
    typed = {key.lower(): value for key, value in {**elsewhere, **{option: option for option in options}}.items()}
    near = get_close_matches(name.lower(), typed, n=1, cutoff=0.6)
    return f"; did you mean '{typed[near[0]]}'?" if near else ";"


def require_known(
    kind: str, name: str, options: Iterable[str], prefix: str = "", elsewhere: Mapping[str, str] = NOWHERE
) -> None:
    """Raise `UserError` unless `name` is one of `options`.

    `kind` is the kind of thing that is named ("method"); `prefix` is what precedes the name on the command line
    ("method.hparams."); `elsewhere` as in `suggestion`.
    """
    options = list(options)
    if name not in options:
        near = suggestion(str(name), options, elsewhere)
        raise UserError(f"unknown {kind} {prefix + str(name)!r}{near} one of {one_of(options)}")
