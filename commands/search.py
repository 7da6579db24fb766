"""`python main.py search with WORDS RANGES`: hyper-parameter search; each trial is a recorded run.

RANGES are settings of method and model: NAME=uniform(LOW,HIGH), log(LOW,HIGH), int(LOW,HIGH) or choice(A,B,...);
default: those below, except of settings that WORDS give. The same command joins or resumes the search.

Examples:
  python main.py search with biased_mnist rho997 method=end trials=20
  python main.py search with digits method=lff trials=10 method.hparams.q=uniform(0.5,0.9)
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from debiaslab.analysis.query import Query
from debiaslab.analysis.search import best_settings, find_trials, search_report
from debiaslab.commands.run_query import find_records
from debiaslab.commands.searches.database import find_plan, hide_password, naming_database
from debiaslab.commands.searches.plan import Plan, check
from debiaslab.commands.searches.trials import Trials
from debiaslab.commands.searches.words import SearchWords, read_search
from debiaslab.commands.searches.worker import Worker
from debiaslab.core.console import plural, show
from debiaslab.core.program import program_name
from debiaslab.recording.command_line import command_line_of
from debiaslab.recording.launcher import Local
from debiaslab.settings.docs import search_ranges

if TYPE_CHECKING:  # it needs submitit
    from debiaslab.commands.searches.queued import QueuedWorkers

WORDS = SearchWords


def more_help() -> list[str]:
    """The ranges of each method that are searched by default, for --help."""
    lines = ["Default ranges, and where they are from; recipe is the recipe's value:"]
    for (setting, text, source), methods in search_ranges().items():
        lines.append(f"  {setting}={text}, {source}: {', '.join(methods)}")
    return lines


def run(updates: Sequence[str]) -> None:
    """Run the remaining trials, and show the results. Raises `UserError`."""
    words = read_search(updates)
    plan, _ = find_plan(words)
    workers = queued_workers(plan, updates)
    if workers is not None and words.cancel:
        show(f"cancelled {plural(workers.slurm.cancel(workers.in_queue()), 'worker')}")
        return
    if not words.listed:
        check(plan)
    trials = Trials(plan, create=not words.listed)
    describe(plan)
    with naming_database(plan.storage):
        if not words.listed:
            if workers is None:
                Worker(plan, trials, Local(), command_line_of("search", updates)).work()
            elif not trials.are_done():
                workers.run([trials])
        elif workers is not None:
            show(f"{plural(len(workers.in_queue()), 'worker')} in the queue")
        report(plan, trials)


def queued_workers(plan: Plan, updates: Sequence[str]) -> "QueuedWorkers | None":
    """The workers of a search with on=slurm. Raises `UserError` if there is no Slurm here, or as `Crew`."""
    if not plan.words.on_slurm:
        return None
    from debiaslab.commands.searches.queued import Crew, QueuedWorkers
    from debiaslab.recording.slurm import Slurm

    return QueuedWorkers([Crew(plan, updates)], Slurm(plan.log_dir, plan.words.resources))


def describe(plan: Plan) -> None:
    trials = plural(plan.num_trials, "trial")
    print(f"search {plan.name}, in {hide_password(plan.storage)}: {plan.words.sampler}, {trials}")
    print(f"best {plan.objective} under {plan.selection}, over:")
    for range_ in plan.space:
        print(f"  {range_.setting}={range_.text}{f' ({range_.source})' if range_.source else ''}", flush=True)


def report(plan: Plan, trials: Trials) -> None:
    """Print a table of the trials, EnD's summary, the progress, and the best settings as a command."""
    progress = trials.progress()
    if not progress:
        print("no trial has been run yet")
        return
    records = find_records(Query({"search": plan.name}), str(plan.log_dir))
    settings = [range_.setting for range_ in plan.space]
    found = find_trials(plan.name, records, settings)
    show(*search_report(found, plan.words.top))
    whole = plural(plan.num_trials, "trial")
    print(f"{progress}, of {whole}; again: {program_name()} results with search={plan.name}")
    best = best_settings(found)
    if best:
        print(f"the best settings: {program_name()} with {shlex.join(plan.run_words(best))}")
