"""`python main.py -m ADDRESS sync [with WORDS]`: copy file records into MongoDB.

WORDS choose the runs as for `results`; log_dir=DIR names their folder. Runs, metrics, files, output and sources become
what a run with -m would have left there. Again, it copies what is new since; after an outage, it completes what is
there.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pymongo.errors import PyMongoError

from debiaslab.analysis.file_store import FileStore
from debiaslab.commands.question import read_question
from debiaslab.core.console import left_out
from debiaslab.core.errors import UserError
from debiaslab.core.mongo import MONGO_URL
from debiaslab.core.tracking import tracked
from debiaslab.recording.sync import COMPLETED, COPIED, LIVE, THERE, MongoCopy, failed


def answer(updates: Sequence[str]) -> None:
    """Copy the runs that are asked for, and count what that took. Raises `UserError`."""
    url = os.environ.get(MONGO_URL)
    if not url:
        raise UserError(f"where to? Name the MongoDB with -m HOST:PORT:DB, or in {MONGO_URL}")
    question = read_question(updates)
    store = FileStore(Path(question.log_dir))
    records = store.find(question.query)
    problems = list(store.problems)
    database = MongoCopy(url)
    counts: Counter[str] = Counter()
    for record in tracked(records, len(records), "copying"):
        try:
            counts[database.copy(store.folder / record.id)] += 1
        except UserError as error:
            problems.append(str(error))
        except PyMongoError as error:
            raise failed(database.address, error) from None
    for problem in problems:
        left_out(problem)
    print(f"MongoDB {database.address}: {counted(counts, len(problems))}")
    print(f"to see them: python main.py -m {database.address} results")


def counted(counts: Counter[str], damaged: int) -> str:
    told = [(counts[outcome], outcome) for outcome in (COPIED, COMPLETED, THERE)]
    told += [(number, what) for number, what in ((counts[LIVE], LIVE), (damaged, "damaged")) if number]
    return ", ".join(f"{number} {what}" for number, what in told)
