"""`python main.py resume RUN [with WORDS]`: resume a run that was interrupted or killed, with bit-identical results.

RUN is the id of the run, the beginning of it, or the run's folder. Settings come from its record; WORDS may override
those that do not affect the result. The resumed run has its own record. Examples:
  python main.py resume runs/20261130-100339-7c1e
  python main.py resume 20261130-1003 with device=cpu data.root=/data
"""

from collections.abc import Sequence
from dataclasses import dataclass

from debiaslab.commands.from_run import files_of, find_source, typed_settings
from debiaslab.commands.runs import prepare
from debiaslab.commands.words import read_words, word
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.core.program import program_name
from debiaslab.recording.updates import read_updates


@dataclass(frozen=True, kw_only=True)
class ResumeWords:
    ids: tuple[str, ...] = word("the run, if it does not follow the command", (), name="id")


WORDS = ResumeWords


def run(updates: Sequence[str]) -> None:
    """Resume the run. Raises `UserError` if it is complete, has saved no state, or would give another result."""
    words, others = read_words(ResumeWords, updates)
    typed = typed_settings(*read_updates(ex, list(others)))
    if "resume" in typed:
        raise UserError(f"resume={typed['resume']}: the run to resume follows the command; leave the word out")
    record, settings = find_source("resume", words.ids, typed)
    if record.status == "COMPLETED":
        raise UserError(f"the run {record.id} is complete; to repeat it, {program_name()} rerun {words.ids[0]}")
    folder = files_of(record)
    if not folder.is_dir():
        host = record.store.entry(record).get("host", {}).get("hostname", "the machine that trained it")
        raise UserError(
            f"the state of the run {record.id} is not in MongoDB but in its folder {folder} on {host}: resume it there,"
            f" or copy the folder and name it, {program_name()} resume FOLDER"
        )
    prepare("train", settings | {"resume": str(folder)}).start()
