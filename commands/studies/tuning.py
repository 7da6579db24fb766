"""The searches of a study with search=N: N trials for each method and variant, and jobs with the best settings.

Each is an ordinary search (`commands/searches`) over the ranges that the method declares. Its points are random and a
function of the words alone, so that a study that was killed, or has several workers, tries the same ones. Its trials
have a seed of their own: the seeds of the study choose nothing, and more of them leave the search as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from debiaslab.commands.search import describe
from debiaslab.commands.searches.database import find_plan, naming_database
from debiaslab.commands.searches.plan import Plan, check
from debiaslab.commands.searches.space import Value
from debiaslab.commands.searches.trials import Trials
from debiaslab.commands.searches.words import read_search
from debiaslab.commands.searches.worker import Worker
from debiaslab.commands.studies.jobs import Job, make_job, naming
from debiaslab.commands.studies.words import StudyWords
from debiaslab.core.errors import UserError
from debiaslab.recording.launcher import Local

if TYPE_CHECKING:  # they need submitit
    from debiaslab.commands.searches.queued import QueuedWorkers
    from debiaslab.recording.slurm import Slurm

SEED = 0  # of all trials
AGAIN = "the same command"


@dataclass(eq=False)
class Search:
    """The search for a method on a variant, with its `words`; `trials` is None before it has begun."""

    method: str
    variant: str
    words: tuple[str, ...]
    plan: Plan
    trials: Trials | None

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.method, self.variant) if part)

    def check(self) -> None:
        """Raise `UserError` if the trials cannot be run, or would select on test images."""
        with naming(self.method, self.variant):
            check(self.plan)

    def begin(self) -> Trials:
        """Tell what is searched, and open the database. Raises `UserError` if that cannot be used."""
        describe(self.plan)
        self.trials = self.trials or Trials(self.plan)
        return self.trials

    def done(self) -> int:
        """The number of its trials that have ended."""
        counts = {} if self.trials is None else self.trials.counts()
        return min(counts.get("complete", 0) + counts.get("failed", 0), self.plan.num_trials)

    def is_complete(self) -> bool:
        return self.done() == self.plan.num_trials

    @property
    def progress(self) -> str:
        return f"{self.label}: {self.done()} of {self.plan.num_trials} trials of the search {self.plan.name} done"

    def run(self) -> None:
        """Run the remaining trials, and wait for those of other workers. Raises `UserError` if they cannot run."""
        trials = self.begin()
        with naming_database(self.plan.storage):
            try:
                Worker(self.plan, trials, Local(), AGAIN, waits=True).work()
            except KeyboardInterrupt:
                raise KeyboardInterrupt from None  # the command line says how to resume the study

    def best_values(self) -> dict[str, Value] | None:
        """The best settings; None if no trial is complete."""
        return None if self.trials is None else self.trials.best_values()

    def best_jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Its method and variant among `jobs`, with the best settings; empty if no trial is complete."""
        values, plan = self.best_values(), self.plan
        if values is None:
            return []
        marks = (f"search={plan.name}", f"tuned={plan.num_trials}", f"objective={plan.objective}")
        words = (*plan.own_words(values), *marks)
        own = [job for job in jobs if (job.method, job.variant) == (self.method, self.variant)]
        return [make_job(job.method, job.variant, job.seed, (*job.words, *words)) for job in own]


class Tuning:
    """All `searches` of a study."""

    def __init__(self, searches: Sequence[Search]) -> None:
        self.searches = searches

    def run(self, slurm: "Slurm | None") -> None:
        """Check all searches, then run the remaining trials, here or on Slurm.

        Raises `UserError` if they cannot run, or Slurm's workers have ended before them.
        """
        for search in self.searches:
            search.check()
        if slurm is None:
            for search in self.searches:
                search.run()
        else:
            self._run_on(slurm)

    def _run_on(self, slurm: "Slurm") -> None:
        remaining = {search: trials for search in self.searches if not (trials := search.begin()).are_done()}
        if not remaining:
            return
        with naming_database(self.searches[0].plan.storage):
            queued_workers(list(remaining), slurm).run(list(remaining.values()))
            for search in remaining:
                if not search.is_complete():
                    raise UserError(f"{search.progress}, and no worker is left; the same words start others")

    def workers_in_queue(self, slurm: "Slurm") -> list[str]:
        """The names of the workers in the queue of Slurm."""
        return queued_workers(self.searches, slurm).in_queue()

    def best_jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of `jobs` whose search is complete, with the best settings."""
        return [job for search in self.searches if search.is_complete() for job in search.best_jobs(jobs)]

    def failures(self) -> list[str]:
        """A line for each search that gives no settings."""
        return [
            f"FAILED {search.label}, tuned: no trial of {search.plan.name} is complete, of {search.plan.num_trials}"
            for search in self.searches
            if search.best_values() is None
        ]


def queued_workers(searches: Sequence[Search], slurm: "Slurm") -> "QueuedWorkers":
    """The workers of `searches` as jobs of Slurm. Raises `UserError` if they could not share the database."""
    from debiaslab.commands.searches.queued import Crew, QueuedWorkers

    return QueuedWorkers([Crew(search.plan, search.words, search.label) for search in searches], slurm)


def tuning_of(jobs: Sequence[Job], study: StudyWords) -> Tuning:
    """The searches for all methods and variants of `jobs`. Raises `UserError` for any mistake."""
    assert study.search is not None
    objective = [] if study.objective is None else [f"objective={study.objective}"]
    workers = min(study.search, study.parallel or study.search) if study.on_slurm else study.parallel
    options = [f"seed={SEED}", f"trials={study.search}", "sampler=random", f"jobs={workers}", *objective]
    found = []
    for job in {job.row: job for job in jobs}.values():
        words = (*job.words, *options)
        with naming(job.method, job.variant):
            plan, exists = find_plan(replace(read_search(words), on=study.on))
        found.append(Search(job.method, job.variant, words, plan, Trials(plan, create=False) if exists else None))
    return Tuning(found)
