"""`python main.py job with WORDS`: a run that is made once, wherever and however often it is started.

WORDS are those of a run. Nothing is done if it is recorded as complete; if it was killed or interrupted, it is resumed;
if another process runs it, this one waits. Studies start their runs by it on a cluster.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedWriter

from torch import distributed

from debiaslab.commands.ranks import is_process_of_run, join
from debiaslab.commands.runs import prepare
from debiaslab.commands.studies.jobs import Data, Job
from debiaslab.commands.studies.recorded import MONGO_SECONDS, Recorded, State, note_run, open_recorded, try_lock
from debiaslab.commands.words import read_words, word
from debiaslab.config import ex
from debiaslab.core.ranks import of_this_process
from debiaslab.core.sharing import make_shared_folder
from debiaslab.recording.command_line import command_line_of
from debiaslab.recording.configuration import unchecked_configuration
from debiaslab.recording.observers import new_run_id
from debiaslab.recording.updates import read_updates
from debiaslab.settings.setup import check

WAIT_SECONDS = 2.0  # between two attempts to lock the job


@dataclass(frozen=True, kw_only=True)
class JobWords:
    again: bool = word("True: repeat a run of another version of the code", False)
    mongo: bool = word("True: a run in MongoDB (-m) counts too, wherever it was made", False)


WORDS = JobWords


def run(updates: Sequence[str]) -> None:
    """Make the run. Raises `UserError`; after a signal, `KeyboardInterrupt`."""
    own, words = read_words(JobWords, updates)
    try:
        make_once(find_job(words), own)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; to resume: {command_line_of('job', updates)}") from None


def find_job(words: Sequence[str]) -> Job:
    """The job that `words` start, with the facts of its data that its records are compared with."""
    setup, data = check(unchecked_configuration(ex, words)).with_data()
    facts = Data(data.fingerprint, (), setup.identity(data), steps=0, stackable=False)
    return Job(setup.config["method"]["name"], "", setup.run.seed, tuple(words), setup, facts)


def make_once(job: Job, own: JobWords) -> None:
    """Start or resume the run of `job`, unless it is complete.

    If this is one of the processes of the run, the first one locks the job, and tells the others what to do.
    """
    if is_process_of_run():
        join(job.setup)
    ranks = of_this_process()
    with ExitStack() as held:
        start = find_start(job, own, held) if ranks is None or ranks.rank == 0 else None
        if ranks is not None:
            start = ranks.from_first(start)
        if start is not None:
            run_id, words = start
            settings, named_configs = read_updates(ex, words)
            prepare("train", settings, named_configs, options={"--id": run_id, "UPDATE": words}).start()
    if ranks is not None:
        distributed.destroy_process_group()


def find_start(job: Job, own: JobWords, held: ExitStack) -> tuple[str, list[str]] | None:
    """The id of a new run and the words that start it; None if the job is done. It is locked until `held` ends."""
    make_shared_folder(job.log_dir)
    recorded = open_recorded(job.log_dir, own.mongo)
    lock = held.enter_context(wait_for_lock(job))
    state = wait_for_other_machine(job, recorded)
    if state.settles(own.again):
        print(f"done: {recorded.place(str(state.done))}")
        return None
    run_id = new_run_id()
    note_run(lock, run_id)
    return run_id, [*job.words, *([f"resume={job.log_dir / state.unfinished}"] if state.unfinished else [])]


def wait_for_other_machine(job: Job, recorded: Recorded) -> State:
    """The recorded state of the job, as soon as no other machine runs it."""
    waited = False
    while (state := recorded.state(job)).elsewhere:
        if not waited:
            print("waiting: another machine runs it", flush=True)
        waited = True
        time.sleep(MONGO_SECONDS)
    return state


def wait_for_lock(job: Job) -> BufferedWriter:
    """Lock the job, as soon as no other process has."""
    waited = False
    while (lock := try_lock(job.log_dir, job.key)) is None:
        if not waited:
            print("waiting: another process runs it", flush=True)
        waited = True
        time.sleep(WAIT_SECONDS)
    return lock
