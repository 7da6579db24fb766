"""Options of a study or search for where its runs are made: on this machine, or as jobs of Slurm."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from debiaslab.commands.words import one_of_these, word, word_names
from debiaslab.core.errors import UserError

if TYPE_CHECKING:  # it needs the package submitit
    from debiaslab.recording.slurm import Resources

LOCAL, SLURM = "local", "slurm"
PREFIX = "slurm."
# options of sbatch that have a word of their own, or are decided here
IN_PLACE_OF = {"partition": "partition", "time": "hours", "nodes": "nodes", "gpus": "gpus", "gpus-per-node": "gpus"}
DECIDED = (
    *("array", "chdir", "error", "input", "job-name", "no-requeue", "ntasks", "ntasks-per-node"),
    *("open-mode", "output", "parsable", "requeue", "signal", "test-only", "wait", "wrap"),
)


def read_hours(name: str, text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < 10_000:
        raise UserError(f"{name}={text}: must be a number of hours above 0, such as 12 or 0.5")
    return hours


@dataclass(frozen=True, kw_only=True)
class ClusterWords:
    """`options` are further ones of sbatch, by name."""

    on: str = word("local or slurm", LOCAL, read=one_of_these("place", (LOCAL, SLURM)))
    partition: str | None = word("with on=slurm: the partition")
    gpus: int | None = word("with on=slurm: GPUs of each job, on each of its nodes")
    nodes: int | None = word("with on=slurm: nodes that share the processes of each run (ranks); default: 1")
    hours: float | None = word(
        "with on=slurm: the time limit of each job, after which it is queued again", read=read_hours
    )
    cancel: bool = word("with on=slurm: True: cancel the jobs in the queue", False)
    options: dict[str, str] = field(default_factory=dict)

    @property
    def on_slurm(self) -> bool:
        return self.on == SLURM

    @property
    def resources(self) -> "Resources":
        """What each job gets. Raises `ModuleNotFoundError` if submitit is not installed."""
        from debiaslab.recording.slurm import Resources

        return Resources(self.partition, self.gpus, self.hours, self.nodes, options=self.options)

    def require_place(self) -> None:
        """Raise `UserError` for options of Slurm without on=slurm."""
        given = {name: getattr(self, name) for name in ("partition", "gpus", "nodes", "hours", "cancel")}
        given |= {PREFIX + name: value for name, value in self.options.items()}
        for name, value in given.items():
            if value and not self.on_slurm:
                raise UserError(f"{name}={value} is an option of on=slurm: add that, or leave it out")


def take_options(updates: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """(options of sbatch, given as slurm.NAME=VALUE; other updates). Raises `UserError` for one that is set here."""
    options, others = {}, []
    for update in updates:
        name, separator, value = update.partition("=")
        if separator and name.startswith(PREFIX):
            option = name.removeprefix(PREFIX).replace("_", "-")
            if option in IN_PLACE_OF:
                raise UserError(f"{update}: use {IN_PLACE_OF[option]}=")
            if option in DECIDED or not re.fullmatch("[a-z][a-z-]+", option) or not value.isprintable():
                raise UserError(f"{update}: not an option of sbatch that can be given here, such as slurm.account=NAME")
            options[option] = value
        else:
            others.append(update)
    return options, others


def without_cluster_words(updates: Sequence[str]) -> list[str]:
    """The updates without those that `ClusterWords` read."""
    names = word_names(ClusterWords)
    return [update for update in take_options(updates)[1] if update.partition("=")[0] not in names]
