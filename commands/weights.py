"""Load the weights for `evaluate`: those that a run has kept, or those that authors have released."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debiaslab.core.errors import UserError
from debiaslab.core.files import expand
from debiaslab.core.program import program_name
from debiaslab.core.settings import merge, nest
from debiaslab.datasets import BiasedDataset
from debiaslab.evaluation.selection import parse_rule
from debiaslab.methods import Method
from debiaslab.released import RULE, is_released, load_released, read_released
from debiaslab.settings.setup import Setup
from debiaslab.training.checkpoint import LAST


@dataclass(frozen=True)
class Weights:
    """Where weights come from: file or folder, the rule that selected them, epoch and step.

    `branches` can be evaluated (None: all); `label` is the rule as shown to users.
    """

    path: Path
    rule: str
    label: str
    epoch: int | None
    step: int | None
    branches: tuple[str, ...] | None = None


def load_weights(setup: Setup, method: Method, data: BiasedDataset) -> Weights:
    """Load the weights at `checkpoint` into `method`. Raises `UserError` if there are none, or they do not fit."""
    if setup.run.checkpoint is None:
        raise UserError(
            f"nothing to evaluate: give a run, as in `{program_name()} evaluate RUN`, or checkpoint=PATH, a file of"
            " weights or the folder of a run"
        )
    path = Path(setup.run.checkpoint)
    if names_released(path):
        released = read_released(path, setup.config["method"]["name"])
        load_released(released, method, data.num_classes)
        return Weights(path, RULE, RULE, None, None, released.branches)
    path = path / LAST if path.is_dir() else path
    facts = setup.load_weights(path, method, data)
    rule = parse_rule(facts["rule"], True, "rule")
    return Weights(path, rule.name, rule.label, facts["epoch"], facts["step"])


def with_released(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add to the `settings` of an evaluation those that released weights need and the user has not set.

    Prints notes on what the weights leave open.
    """
    checkpoint = settings.get("checkpoint")
    if not isinstance(checkpoint, str) or not names_released(path := Path(expand(checkpoint, "checkpoint"))):
        return settings
    method = settings.get("method", {})
    released = read_released(path, method.get("name") if isinstance(method, Mapping) else None)
    for note in released.notes:
        print(note)
    return merge(nest(released.settings), settings)


def names_released(path: Path) -> bool:
    """Whether `path` has weights released by authors rather than those of a run. Raises `UserError` if unreadable."""
    try:
        return not (path / LAST).exists() and is_released(path)
    except OSError as error:
        raise UserError(f"cannot read checkpoint={path}: {error.strerror}") from None
