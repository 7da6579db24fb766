"""`python main.py search with WORDS RANGES`: look for the best hyper-parameters, each trial a recorded run.

RANGES are settings of method and model: NAME=uniform(LOW,HIGH), log(LOW,HIGH), int(LOW,HIGH) or choice(A,B,...); none:
those of the method's authors. trials=20, sampler=tpe (or random, grid), objective=valid/unbiased, storage=FILE or the
address of a database that several workers share, jobs=1 at a time, name=NAME, top=3 to be summed up, and list=True to
see what has been found. The same command joins the search, and goes on with it.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from debiaslab.analysis.query import Query
from debiaslab.analysis.search import best_settings, find_trials, search_report
from debiaslab.commands.question import Question, found_records
from debiaslab.commands.searches.database import DATABASE_ERRORS, begun_before, database_problem, shown_address
from debiaslab.commands.searches.plan import Plan, check, planned
from debiaslab.commands.searches.trials import Trials
from debiaslab.commands.searches.words import read_search
from debiaslab.commands.searches.worker import Worker
from debiaslab.core.console import show
from debiaslab.core.mongo import MONGO_URL, without_password


def answer(updates: Sequence[str]) -> None:
    """Run the trials that are wanted, and show what has been found. Raises `UserError`."""
    words = read_search(updates)
    plan = planned(words)
    if words.name is None and (name := begun_before(plan)) is not None:
        plan = replace(plan, words=replace(words, name=name))
    if not words.listed:
        check(plan)
    trials = Trials(plan, create=not words.listed)
    say_what(plan)
    try:
        if not words.listed:
            Worker(plan, trials, command(updates)).work()
        report(plan, trials)
    except DATABASE_ERRORS as error:
        raise database_problem(plan.storage, error) from None


def say_what(plan: Plan) -> None:
    print(f"search {plan.name}, in {shown_address(plan.storage)}: {plan.words.sampler}, {plan.num_trials} trials")
    print(f"best {plan.objective} under {plan.selection}, over:")
    for range_ in plan.space:
        print(f"  {range_.setting}={range_.text}", flush=True)


def report(plan: Plan, trials: Trials) -> None:
    """A table of the trials, EnD's summary, how far the search is, and the best settings as a command."""
    counts = trials.counts()
    if not any(counts.values()):
        print("no trial has been run yet")
        return
    records = found_records(Question(Query({"search": plan.name}), str(plan.log_dir)))
    settings = [range_.setting for range_ in plan.space]
    found = find_trials(plan.name, records, settings)
    show(*search_report(found, plan.words.top))
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    print(f"{', '.join(parts)}, of {plan.num_trials} trials; again: python main.py results with search={plan.name}")
    best = best_settings(found)
    if best:
        print(f"the best settings: python main.py with {shlex.join(plan.run_words(best))}")


def command(updates: Sequence[str]) -> str:
    """The command line of this search."""
    mongo = os.environ.get(MONGO_URL)
    options = ["-m", mongo] if mongo and mongo == without_password(mongo) else []
    return f"python main.py {shlex.join([*options, 'search', 'with', *updates])}"
