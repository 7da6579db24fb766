"""`python main.py finetune RUN [with WORDS]`: continue training from the weights of a recorded run.

RUN is the id of a complete run, the beginning of it, or the run's folder. Settings come from its record; WORDS override
them. Layers whose size depends on the number of classes are reinitialised if it differs. `with ... start_from=RUN` does
the same with all settings typed. Examples:
  python main.py finetune runs/20261130-100339-7c1e with data.csv=more.csv epochs=5
  python main.py finetune 20261130-1003 with method.hparams.learning_rate=1e-4 seed=2
"""

from collections.abc import Sequence
from dataclasses import dataclass

from debiaslab.commands.evaluated_runs import weights_file
from debiaslab.commands.from_run import find_source, typed_settings
from debiaslab.commands.runs import prepare
from debiaslab.commands.words import read_words, word
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.core.settings import merge
from debiaslab.models.pretrained import NONE
from debiaslab.recording.updates import read_updates


@dataclass(frozen=True, kw_only=True)
class FinetuneWords:
    ids: tuple[str, ...] = word("the run, if it does not follow the command", (), name="id")
    rule: str | None = word("rule that selected its weights: last, or the run's setting selection (default)")


WORDS = FinetuneWords


def run(updates: Sequence[str]) -> None:
    """Continue training. Raises `UserError` if the run has no weights, or they do not fit the settings."""
    words, others = read_words(FinetuneWords, updates)
    typed = typed_settings(*read_updates(ex, list(others)))
    if "start_from" in typed:
        raise UserError(f"start_from={typed['start_from']}: the run to start from follows the command")
    record, settings = find_source("finetune", words.ids, typed)
    own = {"start_from": str(weights_file(record, words.rule)), "model": {"pretrained": NONE}}
    prepare("train", merge(settings, own), info={"finetunes": record.id}).start()
