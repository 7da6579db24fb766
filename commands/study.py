"""`python main.py study with WORDS`: methods x variants x seeds; each run is done once.

WORDS are named configurations and settings for all runs, and options of the study, such as methods=erm,lff
variants=skewed1,skewed4 seeds=1-5; metric=, rule=, format= and against= are for the final table, as in `results`.
With search=N, each method is also tuned on each variant by N trials, and shown beside its default settings.

Examples:
  python main.py study with colored_mnist severity4 published methods=erm,lff variants=skewed1,skewed4 seeds=1-3
  python main.py study with digits search=20 seeds=1-5
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from debiaslab.analysis.published_numbers import published_metrics
from debiaslab.analysis.table_names import row_names
from debiaslab.commands.parallel import jobs_that_pay
from debiaslab.commands.results import DEFAULT_METRIC, TableWords, format_tables, make_tables
from debiaslab.commands.studies.groups import group_jobs
from debiaslab.commands.studies.jobs import Job, jobs_of, with_data
from debiaslab.commands.studies.overview import Overview
from debiaslab.commands.studies.recorded import Recorded, State, is_locked, open_recorded
from debiaslab.commands.studies.runner import Failure, Runner
from debiaslab.commands.studies.words import StudyWords, read_study
from debiaslab.core.console import left_out, new_table, plural, printable, show
from debiaslab.core.errors import UserError, require_known
from debiaslab.core.files import require_writable
from debiaslab.core.program import program_name
from debiaslab.evaluation.metrics import METRICS
from debiaslab.evaluation.outcomes import OUTCOME_METRICS
from debiaslab.recording.configuration import as_recorded
from debiaslab.recording.launcher import Local
from debiaslab.recording.observers import mongo_from_environment

if TYPE_CHECKING:  # only a study with search=N needs the packages of a search, and with on=slurm submitit
    from debiaslab.commands.studies.queued import QueuedRunner
    from debiaslab.commands.studies.tuning import Tuning
    from debiaslab.recording.slurm import Place, Slurm


@dataclass(frozen=True)
class Planned:
    """A run that is not recorded yet, with the configuration that will be recorded."""

    id: str
    config: Mapping[str, Any]


WORDS = StudyWords


def run(updates: Sequence[str]) -> int:
    """Run the study, or list it; returns 1 if a run failed. Raises `UserError` before any run starts."""
    if not updates:
        raise UserError("which runs? name the data, methods and seeds: study with digits methods=erm,lff seeds=3")
    return run_study(read_study(updates))


def run_study(study: StudyWords) -> int:
    """The same for parsed words."""
    jobs = jobs_of(study)
    if not study.on_slurm:
        study = replace(study, parallel=study.parallel or jobs_that_pay([job.setup.config for job in jobs]))
    tuning = plan_tuning(jobs, study)
    check_row(jobs, study)
    recorded = open_recorded(jobs[0].log_dir, study.mongo)
    slurm = slurm_of(jobs, study, recorded)
    if slurm is not None and study.cancel:
        cancel(jobs, tuning, slurm)
        return 0
    if study.listed:
        list_study(jobs, tuning, recorded, study, slurm)
        return 0
    require_writable(recorded.log_dir, "log_dir")
    mongo_from_environment()  # fails if the server does not respond
    if tuning is not None and len(study.seeds) == 1:
        show("one seed does not tell how sure the difference of the tuned settings is; give several, as seeds=1-3")
    show(f"checking {plural(len(jobs), 'run')} and the data")
    jobs = list(with_data(jobs, run_here=slurm is None))
    check_metrics(jobs, study)
    untuned = []
    if tuning is not None:
        tuning.run(slurm)
        untuned = tuning.failures()
        jobs = in_order([*jobs, *with_data(tuning.best_jobs(jobs))])
    states = list_jobs(jobs, recorded, study, slurm)
    done = {key: state.done for key, state in states.items() if state.done and state.settles(study.again)}
    open_jobs = [job for job in jobs if job.key not in done]
    runner = make_runner(open_jobs, states, recorded, study, slurm)
    runner.run()
    show_results(jobs, done | runner.done, recorded, study)
    for failure in runner.failures:
        show(*failure_lines(failure))
    show(*untuned)
    return 1 if runner.failures or untuned else 0


def slurm_of(jobs: Sequence[Job], study: StudyWords, recorded: Recorded) -> "Slurm | None":
    """The queue for on=slurm. Raises `UserError` if this machine has none, or `nodes` cannot share the jobs."""
    if not study.on_slurm:
        return None
    from debiaslab.recording.slurm import Slurm

    resources = replace(study.resources, tasks=tasks_per_node(jobs, study.nodes))
    return Slurm(recorded.log_dir, resources, study.parallel or None)


def cancel(jobs: Sequence[Job], tuning: "Tuning | None", slurm: "Slurm") -> None:
    """Cancel the runs of the study in the queue, and the workers of its searches."""
    if tuning is not None:
        show(f"cancelled {plural(slurm.cancel(tuning.workers_in_queue(slurm)), 'worker')}")
        jobs = [*jobs, *tuning.best_jobs(jobs)]
    show(f"cancelled {plural(slurm.cancel([job.name_in_queue for job in jobs]), 'run')}")


def tasks_per_node(jobs: Sequence[Job], nodes: int | None) -> int | None:
    """How many processes of each run are on each of its `nodes`. Raises `UserError` if they cannot share them."""
    if nodes is None:
        return None
    sizes = sorted({job.setup.run.ranks for job in jobs})
    if len(sizes) > 1 or sizes[0] % nodes:
        found = " and ".join(map(str, sizes))
        raise UserError(
            f"nodes={nodes}: must share the processes of each run evenly, with ranks={found}; set ranks too"
        )
    return sizes[0] // nodes


def make_runner(
    jobs: Sequence[Job], states: Mapping[str, State], recorded: Recorded, study: StudyWords, slurm: "Slurm | None"
) -> "Runner | QueuedRunner":
    """What runs `jobs`, here or on Slurm."""
    overview = Overview(len(jobs))
    if slurm is not None:
        from debiaslab.commands.studies.queued import QueuedRunner

        own = [f"{name}=True" for name in ("again", "mongo") if getattr(study, name)]
        return QueuedRunner(jobs, recorded, slurm, own, again=study.again, overview=overview)
    threads = threads_per_run(study.parallel)
    groups = group_jobs(jobs, states, study, threads)
    return Runner(
        groups, recorded, Local(), again=study.again, parallel=study.parallel, threads=threads, overview=overview
    )


def threads_per_run(parallel: int) -> int | None:
    """CPU threads of each of `parallel` runs; None if the environment sets them."""
    return None if "OMP_NUM_THREADS" in os.environ else max(1, (os.cpu_count() or 1) // parallel)


# ---- before


def check_row(jobs: Sequence[Job], words: StudyWords) -> None:
    """Raise `UserError` if the final table will not have the row `against`."""
    if words.against is not None:
        planned = [Planned(job.key, as_recorded(job.setup.config)) for job in jobs]
        if words.search is not None:
            planned += [Planned(f"{run.id}, tuned", {**run.config, "tuned": words.search}) for run in planned]
        names = row_names(planned)
        require_known("row", words.against, dict.fromkeys(names.values()), "against=")


def check_metrics(jobs: Sequence[Job], words: TableWords) -> None:
    """Raise `UserError` for a metric that none of the jobs' data has."""
    splits = dict.fromkeys(split for job in jobs if job.data is not None for split in job.data.splits)
    for metric in words.metrics:
        require_known(
            "metric", metric, [f"{split}/{name}" for split in splits for name in (*METRICS, *OUTCOME_METRICS)]
        )


def list_jobs(
    jobs: Sequence[Job], recorded: Recorded, study: StudyWords, slurm: "Slurm | None" = None
) -> dict[str, State]:
    """Show what is to be done for each job, and return the recorded states."""
    states = recorded.states(jobs)
    places = {name: place for name, (place, _) in slurm.places().items()} if slurm is not None else {}
    for problem in recorded.problems:
        left_out(problem)
    table = new_table()
    for header in ("method", "variant", "seed", "", "run"):
        table.add_column(header, no_wrap=True)
    counts: dict[str, int] = {}
    for job in jobs:
        what, where = plan_of(job, states[job.key], recorded, study.again, places.get(job.name_in_queue))
        counts[what] = counts.get(what, 0) + 1
        table.add_row(job.name, job.variant, str(job.seed), what, where)
    summary = ", ".join(f"{count} {what}" for what, count in counts.items())
    show(table, f"{plural(len(jobs), 'run')}: {summary}{f'; {study.parallel} at a time' if study.parallel else ''}")
    if any(state.done and not state.same_code for state in states.values()) and not study.again:
        show("to repeat runs of other versions of the code: again=True")
    return states


def plan_of(job: Job, state: State, recorded: Recorded, again: bool, place: "Place | None" = None) -> tuple[str, str]:
    """What is to be done for a job, and the existing run or the job in the queue, if any."""
    if state.settles(again):
        what = "done" if state.same_code else "done (by another version of the code)"
        return what, recorded.place(str(state.done))
    if place is not None:
        return place.text, f"job {place.job_id}"
    if is_locked(job.log_dir, job.key):
        return "running in another study", ""
    if state.elsewhere:
        return "running on another machine", ""
    if state.unfinished is not None:
        return "to resume", str(job.log_dir / state.unfinished)
    return "to run", ""


# ---- with search=N


def plan_tuning(jobs: Sequence[Job], study: StudyWords) -> "Tuning | None":
    """The searches that `search=N` asks for. Raises `UserError` for any mistake."""
    if study.search is None:
        return None
    from debiaslab.commands.studies.tuning import tuning_of

    return tuning_of(jobs, study)


def list_study(
    jobs: Sequence[Job],
    tuning: "Tuning | None",
    recorded: Recorded,
    study: StudyWords,
    slurm: "Slurm | None" = None,
) -> None:
    """Show what is to be done, for the tuned jobs too whose search is complete."""
    tuned = [] if tuning is None else tuning.best_jobs(jobs)
    list_jobs(in_order([*jobs, *tuned]), recorded, study, slurm)
    if tuning is None:
        return
    for search in tuning.searches:
        rest = "" if search.is_complete() else f", then {plural(len(study.seeds), 'run')} with the best settings"
        show(f"{search.progress}{rest}")
    if slurm is not None:
        show(f"{plural(len(tuning.workers_in_queue(slurm)), 'worker')} in the queue")


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The jobs by variant, seed and method, as in the study; tuned ones follow those with the default settings."""
    order = list(dict.fromkeys((job.variant, job.seed, job.method) for job in jobs))
    return sorted(jobs, key=lambda job: order.index((job.variant, job.seed, job.method)))


# ---- after


def show_results(jobs: Sequence[Job], done: Mapping[str, str], recorded: Recorded, words: TableWords) -> None:
    """Show the table of `results` for the runs of this study, with the metrics that papers report for their data."""
    if not done:
        return
    published = dict.fromkeys(metric for job in jobs for metric in published_metrics(job.setup.config["data"]["name"]))
    metrics = words.metrics or (*published,) or (DEFAULT_METRIC,)
    order = [done.get(job.key) for job in jobs]
    records = sorted(recorded.find(list(done.values())), key=lambda record: order.index(record.id))
    tables = []
    for metric in metrics:
        try:
            tables += make_tables(records, replace(words, metrics=(metric,)))
        except UserError as error:
            print(printable(f"no table of {metric}: {error}"), file=sys.stderr)
    show(*format_tables(tables, words.format or "terminal"))


def failure_lines(failure: Failure) -> list[str]:
    """The failed job, the reason, its output file, and the command that repeats it."""
    repeat = f"{program_name()} with {shlex.join(failure.job.words)}"
    return [f"FAILED {failure.job.label}: {failure.reason}", f"  output: {failure.output}", f"  to repeat: {repeat}"]
