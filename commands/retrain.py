"""`python main.py retrain RUN with method=METHOD [WORDS]`: fit the last layer of a recorded classifier again.

METHOD is dfr or afr. RUN is the id of a complete run of any method whose classifier is an encoder with a linear layer,
the beginning of the id, or the run's folder. The encoder stays as it is, so this takes seconds. Data and network are
those of RUN; WORDS override. It is a run with a record of its own. Examples:
  python main.py retrain runs/20261130-100339-7c1e with method=dfr
  python main.py retrain 20261130-1003 with method=afr method.hparams.gamma=4
"""

from collections.abc import Sequence
from dataclasses import dataclass

from debiaslab.commands.from_run import files_of, folder_for, typed_settings
from debiaslab.commands.named_runs import find_one_run, only_name
from debiaslab.commands.run_query import DEFAULT_LOG_DIR
from debiaslab.commands.runs import prepare
from debiaslab.commands.words import read_words, word
from debiaslab.config import ex
from debiaslab.core.errors import UserError, one_of
from debiaslab.core.settings import merge
from debiaslab.methods import METHODS
from debiaslab.models.pretrained import NONE
from debiaslab.recording.updates import read_updates

RETRAINING = [name for name, method in METHODS.items() if method.starts_from_classifier]


@dataclass(frozen=True, kw_only=True)
class RetrainWords:
    ids: tuple[str, ...] = word("the run, if it does not follow the command", (), name="id")


WORDS = RetrainWords


def run(updates: Sequence[str]) -> None:
    """Fit the last layer. Raises `UserError` for a run without such a classifier, or another method."""
    words, others = read_words(RetrainWords, updates)
    typed = typed_settings(*read_updates(ex, list(others)))
    name = only_name(words.ids, f"retrain RUN with method={RETRAINING[0]}")
    method = typed.get("method", {}).get("name")
    if method not in RETRAINING:
        given = "no method is given" if method is None else f"method={method} does not only fit the last layer"
        raise UserError(f"retrain: {given}; add method= with one of {one_of(RETRAINING)}")
    log_dir = str(typed.get("log_dir", DEFAULT_LOG_DIR))
    record = find_one_run(name, log_dir)
    folder = files_of(record)
    if not folder.is_dir():
        raise UserError(f"retrain needs the files of the run {record.id}, and there is no {folder}; copy its folder")
    known = record.config
    settings = {
        "seed": known["seed"],
        "log_dir": folder_for(name, log_dir),
        "data": dict(known["data"]),
        "model": {"name": known["model"]["name"], "hparams": dict(known["model"]["hparams"])},
    }
    own = {"start_from": str(folder), "model": {"pretrained": NONE}, "method": {"hparams": {"retrain_only": True}}}
    prepare("train", merge(merge(settings, typed), own), info={"retrains": record.id}).start()
