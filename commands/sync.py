"""`python main.py -m ADDRESS sync [with WORDS]`: copy file records into MongoDB.

WORDS select the runs as for `results`; log_dir=DIR is their folder. The copies are identical to what a run with -m
records: runs, metrics, files, output and sources. Call it again to copy new runs and, after an outage, to complete
existing ones.

Examples:
  python main.py -m localhost:27017:debias sync
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pymongo.errors import PyMongoError

from debiaslab.analysis.file_store import FileStore
from debiaslab.commands.run_query import RunWords, read_run_query
from debiaslab.core.console import left_out
from debiaslab.core.errors import UserError
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.program import program_name
from debiaslab.core.progress_bar import progress_bar
from debiaslab.recording.sync import COMPLETED, COPIED, LIVE, THERE, MongoCopy, copy_failure

WORDS = RunWords


def run(updates: Sequence[str]) -> None:
    """Copy the selected runs, and print counts. Raises `UserError`."""
    url = os.environ.get(MONGO_URL)
    if not url:
        raise UserError(f"where to? Name the MongoDB with -m HOST:PORT:DB, or in {MONGO_URL}")
    asked = read_run_query(updates, RunWords)
    store = FileStore(Path(asked.log_dir))
    records = store.find(asked.query)
    problems = list(store.problems)
    database = MongoCopy(url)
    counts: Counter[str] = Counter()
    for record in progress_bar(records, len(records), "copying"):
        try:
            counts[database.copy(store.folder / record.id)] += 1
        except UserError as error:
            problems.append(str(error))
        except PyMongoError as error:
            raise copy_failure(database.address, error) from None
    for problem in problems:
        left_out(problem)
    print(f"MongoDB {database.address}: {describe_counts(counts, len(problems))}")
    print(f"to see them: {program_name()} -m {database.address} results")


def describe_counts(counts: Counter[str], damaged: int) -> str:
    parts = [(counts[outcome], outcome) for outcome in (COPIED, COMPLETED, THERE)]
    parts += [(number, what) for number, what in ((counts[LIVE], LIVE), (damaged, "damaged")) if number]
    return ", ".join(f"{number} {what}" for number, what in parts)
