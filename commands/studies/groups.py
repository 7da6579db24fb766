"""Group jobs of a study to train them as one: those that differ only in their seed, if requested and faster."""

from collections.abc import Mapping, Sequence

from debiaslab.commands.ranks import TOGETHER
from debiaslab.commands.studies.jobs import Job
from debiaslab.commands.studies.pace import Pace, measure_pace
from debiaslab.commands.studies.recorded import State, is_locked
from debiaslab.commands.studies.words import StudyWords
from debiaslab.core.console import show
from debiaslab.core.errors import UserError
from debiaslab.settings.setup import load_once
from debiaslab.training.device import give_back_memory


def group_jobs(
    jobs: Sequence[Job], states: Mapping[str, State], study: StudyWords, threads: int | None
) -> list[tuple[Job, ...]]:
    """Group the jobs that are trained as one; others are groups of one. Keeps the order.

    Jobs to resume, and those that another study is running, are groups of one. With `study.together` None, the faster
    way is measured and printed.
    """
    if study.together is False:
        return [(job,) for job in jobs]
    if study.together and any(job.setup.run.ranks > 1 for job in jobs):
        raise UserError(TOGETHER)
    alike: dict[tuple[str, str, int | None], list[Job]] = {}
    groups: list[tuple[Job, ...]] = []
    for job in jobs:
        if states[job.key].unfinished is None and not is_locked(job.log_dir, job.key) and can_be_stacked(job):
            alike.setdefault(job.row, []).append(job)
        else:
            groups.append((job,))
    for several in alike.values():
        if pays(several, study, threads):
            groups.append(tuple(several))
        else:
            groups.extend((job,) for job in several)
    load_once.cache_clear()
    return sorted(groups, key=lambda group: jobs.index(group[0]))


def can_be_stacked(job: Job) -> bool:
    """Whether runs of the job's method can be trained as one in at least one phase."""
    return job.data is not None and job.data.stackable


def pays(jobs: Sequence[Job], study: StudyWords, threads: int | None) -> bool:
    """Whether to train the jobs as one."""
    if len(jobs) == 1 or study.together:
        return len(jobs) > 1
    pace = measure_pace([job.setup for job in jobs], threads)
    give_back_memory()
    show(pace_of(jobs[0], pace, study.parallel))
    return pace.together_pays(study.parallel)


def pace_of(job: Job, pace: Pace, parallel: int) -> str:
    """The measurement as text."""
    name = " ".join(part for part in (job.name, job.variant) if part)
    at_a_time = f", {parallel} at a time" if parallel > 1 else ""
    faster = "together" if pace.together_pays(parallel) else "apart"
    return (
        f"{name}: a step of {pace.count} seeds takes {1e3 * pace.apart(parallel):.2g} ms apart{at_a_time}, "
        f"{1e3 * pace.together:.2g} ms together: {faster}"
    )
