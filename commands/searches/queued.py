"""The workers of searches as jobs of Slurm: submitted as one array, and watched until the last has ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from debiaslab.commands.cluster_words import without_cluster_words
from debiaslab.commands.searches.database import JOURNALS
from debiaslab.commands.searches.plan import Plan
from debiaslab.commands.searches.trials import Trials
from debiaslab.core.console import plural
from debiaslab.core.errors import UserError
from debiaslab.recording.launcher import OUTPUTS, Handle, Outcome, supervise
from debiaslab.recording.slurm import Slurm, tell_left, tell_submitted


@dataclass(frozen=True)
class Crew:
    """The workers of a search: as many as the `jobs` of `plan`, each the command `search` with `updates` and jobs=1.

    `label` tells it from other searches that are watched with it.
    """

    plan: Plan
    updates: Sequence[str]
    label: str = ""

    def __post_init__(self) -> None:
        """Raises `UserError` if the workers could not share the database."""
        if "://" not in self.plan.storage and not self.plan.storage.endswith(JOURNALS):
            raise UserError(
                f"storage={self.plan.storage}: SQLite is for workers on one machine; on Slurm use a file that ends in"
                " .journal, or a PostgreSQL server"
            )

    @property
    def arguments(self) -> list[str]:
        """The command of a worker, without an address of the database, which may have a password."""
        storage = [] if "://" in self.plan.storage else [f"storage={self.plan.storage}"]
        return ["search", "with", *without_cluster_words(self.updates), *storage, "jobs=1"]

    def start(self, slurm: Slurm) -> dict[Handle, str]:
        """Note the workers for the next submission; returns their names."""
        names = [f"{self.plan.name}-{number}" for number in range(1, self.plan.words.jobs + 1)]
        outputs = self.plan.log_dir / OUTPUTS
        return {slurm.start(self.arguments, outputs / f"{name}.txt"): name for name in names}


class QueuedWorkers:
    """The workers of `crews` as jobs of `slurm`."""

    def __init__(self, crews: Sequence[Crew], slurm: Slurm) -> None:
        self.crews, self.slurm = crews, slurm
        self.workers: dict[Handle, str] = {}
        self.trials: Sequence[Trials] = []
        self.told = [""] * len(crews)

    def run(self, trials: Sequence[Trials]) -> None:
        """Submit the workers that are not in the queue, and watch all, with the `trials` of each crew.

        A signal raises `KeyboardInterrupt`.
        """
        self.trials = trials
        for crew in self.crews:
            self.workers |= crew.start(self.slurm)
        print(tell_submitted(self.slurm.submit(), "worker"), flush=True)
        supervise(self.slurm, self)

    def in_queue(self) -> list[str]:
        """The names of the workers in the queue."""
        names = {crew.plan.name for crew in self.crews}
        return [name for name in self.slurm.places() if name.rpartition("-")[0] in names]

    # ---- watching

    def advance(self) -> bool:
        if self.slurm.has_looked():
            before, self.told = self.told, [trials.progress() for trials in self.trials]
            for crew, told, earlier in zip(self.crews, self.told, before, strict=True):
                if told != earlier:
                    label = f"{crew.label}: " if crew.label else ""
                    print(f"{label}{told}, of {plural(crew.plan.num_trials, 'trial')}", flush=True)
        return bool(self.workers)

    def conclude(self, handle: Handle, outcome: Outcome, stopped: bool = False) -> None:
        name = self.workers.pop(handle)
        if outcome.code:
            reason = outcome.lost or outcome.last_line("error: ") or outcome.cause
            print(f"FAILED    worker {name}: {reason}; output: {outcome.output}", flush=True)

    def stopping(self) -> None:
        if self.workers:
            print(tell_left(len(self.workers), "worker"), flush=True)
