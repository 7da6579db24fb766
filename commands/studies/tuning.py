"""The searches of a study with search=N: N trials for each method and variant, and jobs with the best settings.

Each is an ordinary search (`commands/searches`) over the ranges that the method declares. Its points are random and a
function of the words alone, so that a study that was killed, or has several workers, tries the same ones. Its trials
have a seed of their own: the seeds of the study choose nothing, and more of them leave the search as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from debiaslab.commands.search import describe
from debiaslab.commands.searches.database import DATABASE_ERRORS, database_problem, find_plan
from debiaslab.commands.searches.plan import Plan, check
from debiaslab.commands.searches.trials import Trials
from debiaslab.commands.searches.words import read_search
from debiaslab.commands.searches.worker import Worker
from debiaslab.commands.studies.jobs import Job, make_job
from debiaslab.commands.studies.words import StudyWords
from debiaslab.core.errors import UserError
from debiaslab.recording.launcher import Local

SEED = 0  # of all trials
AGAIN = "the same command"


@dataclass(frozen=True)
class Search:
    """The search for a method on a variant; `exists`: it has been started before."""

    method: str
    variant: str
    plan: Plan
    exists: bool

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.method, self.variant) if part)

    def check(self) -> None:
        """Raise `UserError` if the trials cannot be run, or would select on test images."""
        try:
            check(self.plan)
        except UserError as error:
            raise UserError(f"{self.label}: {error}") from None

    def done(self) -> int:
        """The number of its trials that have ended."""
        counts = Trials(self.plan, create=False).counts() if self.exists else {}
        return min(counts.get("complete", 0) + counts.get("failed", 0), self.plan.num_trials)

    def run(self) -> None:
        """Run the remaining trials, and wait for those of other workers. Raises `UserError` if they cannot run."""
        describe(self.plan)
        try:
            Worker(self.plan, Trials(self.plan), Local(), AGAIN, waits=True).work()
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # the command line says how to resume the study
        except DATABASE_ERRORS as error:
            raise database_problem(self.plan.storage, error) from None

    def best_jobs(self, jobs: Sequence[Job]) -> list[Job]:
        """Its method and variant among `jobs`, with the best settings; empty if no trial is complete."""
        values, plan = Trials(self.plan, create=False).best_values(), self.plan
        if values is None:
            return []
        marks = (f"search={plan.name}", f"tuned={plan.num_trials}", f"objective={plan.objective}")
        words = (*plan.own_words(values), *marks)
        own = [job for job in jobs if (job.method, job.variant) == (self.method, self.variant)]
        return [make_job(job.method, job.variant, job.seed, (*job.words, *words)) for job in own]


def searches_of(jobs: Sequence[Job], study: StudyWords) -> list[Search]:
    """The searches for all methods and variants of `jobs`. Raises `UserError` for any mistake."""
    objective = [] if study.objective is None else [f"objective={study.objective}"]
    options = [f"seed={SEED}", f"trials={study.search}", "sampler=random", f"jobs={study.parallel}", *objective]
    found = []
    for job in {job.row: job for job in jobs}.values():
        try:
            plan, exists = find_plan(read_search([*job.words, *options]))
        except UserError as error:
            raise UserError(f"{' '.join(part for part in (job.method, job.variant) if part)}: {error}") from None
        found.append(Search(job.method, job.variant, plan, exists))
    return found
