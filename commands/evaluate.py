"""`python main.py evaluate RUN [with WORDS]`: evaluate the weights of a run, or weights released by authors.

RUN is the id of a complete run, the beginning of it, or the run's folder. Settings come from its record; WORDS, such as
data.csv=PATH, override them. Without RUN, `checkpoint=PATH` gives the weights: a file of a run, its folder (the last
weights), or files released by authors; WORDS are then all settings. Examples:
  python main.py evaluate runs/20261130-100339-7c1e
  python main.py evaluate 20261130-1003 with data.csv=test.csv
  python main.py evaluate with colored_mnist severity4 checkpoint=debiased_model_stage2.th
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from debiaslab.analysis.result import accuracy_tables, result_of, title_of
from debiaslab.commands.runs import Prepared, record_folder
from debiaslab.commands.telling import facts_of, labels_of_setup, say_notes, say_where
from debiaslab.commands.words import word
from debiaslab.config import Run, ex
from debiaslab.core.console import show
from debiaslab.evaluation.counting import measure_splits
from debiaslab.evaluation.history import EVALUATIONS, Evaluation, empty_history
from debiaslab.evaluation.selection import RULES, parse_rule
from debiaslab.recording.observers import content_type
from debiaslab.recording.progress import ProgressLine
from debiaslab.recording.recorder import RunRecorder
from debiaslab.training.device import threads_for


@dataclass(frozen=True, kw_only=True)
class EvaluateWords:
    """Beside settings; `evaluated_runs.py` reads them."""

    id: str | None = word("the run, if it does not follow the command")
    rule: str | None = word("rule that selected the run's weights: last, or the run's setting selection (default)")


WORDS = EvaluateWords


@ex.command
def evaluate(prepared: Prepared, _run: Run) -> dict[str, Any]:
    """Evaluate the weights of a run, or of `checkpoint=PATH` (a file, a run's folder, released files)."""
    return evaluate_weights(prepared, _run)


def evaluate_weights(prepared: Prepared, run: Run) -> dict[str, Any]:
    """Group accuracies of the weights in `checkpoint` on all evaluation splits: recorded and printed."""
    setup, device, method, weights = prepared.setup, prepared.device, prepared.method, prepared.weights
    assert weights is not None
    data = setup.place(prepared.data, device)
    say_notes(setup, data)
    method.eval()
    phase = method.phases()[-1]
    with threads_for(method):
        measured = measure_splits(held_branches(phase.logits, weights.branches), data, setup.run.workers)
    step = weights.step or 0
    epoch = weights.epoch or 0
    evaluation = Evaluation(phase.name, epoch, step, step, {}, measured.correct, outcomes=measured.outcomes)
    history = empty_history(data)
    history.evaluations.append(evaluation)

    folder = record_folder(run)
    run.info.update(facts_of(setup, data, device))
    with ProgressLine() as line:
        RunRecorder(run.log_scalar, folder, phase.name, line).evaluated(history, evaluation)
    if folder is not None:
        run.add_artifact(folder / EVALUATIONS, content_type=content_type(EVALUATIONS))
    result = {weights.rule: result_of(history, phase.name, parse_rule("last", True, "rule"))["last"]}
    shown = {weights.rule: {**result[weights.rule], "epoch": weights.epoch}}
    labels = [labels_of_setup(setup, data, weights.rule)] if weights.rule in RULES else []  # others are not known
    tables = accuracy_tables(shown, {weights.rule: weights.label})
    show(f"{weights.path}\non {title_of(setup.config)}", *tables, *labels)
    say_where(setup, run)
    return result


def held_branches(
    logits: Callable[[Tensor], dict[str, Tensor]], branches: Sequence[str] | None
) -> Callable[[Tensor], dict[str, Tensor]]:
    """`logits` of these branches alone, in this order; None: of all."""
    if branches is None:
        return logits

    def held(image: Tensor) -> dict[str, Tensor]:
        every = logits(image)
        return {branch: every[branch] for branch in branches}

    return held
