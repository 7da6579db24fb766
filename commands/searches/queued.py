"""The workers of a search as jobs of Slurm: submitted as one array, and watched until the last has ended."""

from collections.abc import Sequence

from debiaslab.commands.cluster_words import without_cluster_words
from debiaslab.commands.searches.database import JOURNALS
from debiaslab.commands.searches.plan import Plan
from debiaslab.commands.searches.trials import Trials
from debiaslab.core.console import plural
from debiaslab.core.errors import UserError
from debiaslab.recording.launcher import OUTPUTS, Handle, Outcome, supervise
from debiaslab.recording.slurm import Slurm, tell_left, tell_submitted


class QueuedWorkers:
    """The workers of the search `plan`, each the command `search` with `updates` and jobs=1."""

    def __init__(self, plan: Plan, updates: Sequence[str]) -> None:
        """Raises `UserError` if there is no Slurm, or the workers could not share the database."""
        if "://" not in plan.storage and not plan.storage.endswith(JOURNALS):
            raise UserError(
                f"storage={plan.storage}: SQLite is for workers on one machine; on Slurm use a file that ends in"
                " .journal, or a PostgreSQL server"
            )
        self.plan = plan
        self.slurm = Slurm(plan.log_dir, plan.words.resources)
        storage = [] if "://" in plan.storage else [f"storage={plan.storage}"]  # an address may have a password
        self.arguments = ["search", "with", *without_cluster_words(updates), *storage, "jobs=1"]
        self.workers: dict[Handle, str] = {}
        self.told = ""

    def run(self, trials: Trials) -> None:
        """Submit the workers that are not in the queue, and watch all. A signal raises `KeyboardInterrupt`."""
        self.trials = trials
        for number in range(1, self.plan.words.jobs + 1):
            name = f"{self.plan.name}-{number}"
            output = self.plan.log_dir / OUTPUTS / f"{name}.txt"
            self.workers[self.slurm.start(self.arguments, output)] = name
        print(tell_submitted(self.slurm.submit(), "worker"), flush=True)
        supervise(self.slurm, self)

    def in_queue(self) -> list[str]:
        """The names of the workers in the queue."""
        return [name for name in self.slurm.places() if name.rpartition("-")[0] == self.plan.name]

    def cancel(self) -> int:
        """Cancel the workers; returns how many were in the queue."""
        return self.slurm.cancel(self.in_queue())

    # ---- watching

    def advance(self) -> bool:
        if self.slurm.has_looked():
            counts = ", ".join(f"{count} {what}" for what, count in self.trials.counts().items() if count)
            if counts != self.told:
                print(f"{counts}, of {plural(self.plan.num_trials, 'trial')}", flush=True)
            self.told = counts
        return bool(self.workers)

    def conclude(self, handle: Handle, outcome: Outcome, stopped: bool = False) -> None:
        name = self.workers.pop(handle)
        if outcome.code:
            reason = outcome.lost or outcome.last_line("error: ") or outcome.cause
            print(f"FAILED    worker {name}: {reason}; output: {outcome.output}", flush=True)

    def stopping(self) -> None:
        if self.workers:
            print(tell_left(len(self.workers), "worker"), flush=True)
