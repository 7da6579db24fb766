"""`python main.py job with WORDS`: a run that is made once, wherever and however often it is started.

WORDS are those of a run. Nothing is done if it is recorded as complete; if it was killed or interrupted, it is resumed;
if another process runs it, this one waits. Studies start their runs by it on a cluster.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedWriter

from debiaslab.commands.runs import prepare
from debiaslab.commands.studies.jobs import Data, Job
from debiaslab.commands.studies.recorded import MONGO_SECONDS, Recorded, State, note_run, open_recorded, try_lock
from debiaslab.commands.words import read_words, word
from debiaslab.config import ex
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
    """Start or resume the run of `job`, unless it is complete."""
    make_shared_folder(job.log_dir)
    recorded = open_recorded(job.log_dir, own.mongo)
    with wait_for_lock(job) as lock:
        state = wait_for_other_machine(job, recorded)
        if state.settles(own.again):
            print(f"done: {recorded.place(str(state.done))}")
            return
        run_id = new_run_id()
        note_run(lock, run_id)
        words = [*job.words, *([f"resume={job.log_dir / state.unfinished}"] if state.unfinished else [])]
        settings, named_configs = read_updates(ex, words)
        prepare("train", settings, named_configs, options={"--id": run_id, "UPDATE": words}).start()


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
