"""`python main.py evaluate with WORDS checkpoint=PATH`: the accuracies of weights that a run has kept."""

from typing import Any

from debiaslab.analysis.result import accuracy_tables, result_of, title_of
from debiaslab.commands.runs import Prepared, record_folder, weights_file
from debiaslab.commands.telling import facts_of, say_notes, say_where
from debiaslab.config import Run, ex
from debiaslab.core.console import show
from debiaslab.evaluation.counting import correct_counts
from debiaslab.evaluation.history import EVALUATIONS, Evaluation, empty_history
from debiaslab.evaluation.selection import parse_rule
from debiaslab.recording.observers import content_type
from debiaslab.recording.progress import ProgressLine
from debiaslab.recording.recorder import RunRecorder
from debiaslab.training.device import threads_for


@ex.command
def evaluate(prepared: Prepared, _run: Run) -> dict[str, Any]:
    """Evaluate the weights of `checkpoint=PATH` (a file, or a run's folder: its last weights)."""
    return evaluate_weights(prepared, _run)


def evaluate_weights(prepared: Prepared, run: Run) -> dict[str, Any]:
    """Group accuracies of the weights in `checkpoint` on all evaluation splits: recorded and printed."""
    setup, device, method = prepared.setup, prepared.device, prepared.method
    data = setup.placed(prepared.data, device)
    say_notes(setup, data)
    path = weights_file(setup)
    facts = setup.load_weights(path, method, data)
    method.eval()
    phase = method.phases()[-1]
    with threads_for(method):
        correct = correct_counts(phase.logits, data, setup.run.workers)
    evaluation = Evaluation(phase.name, facts["epoch"], facts["step"], facts["step"], {}, correct)
    history = empty_history(data)
    history.evaluations.append(evaluation)

    folder = record_folder(run)
    run.info.update(facts_of(data, device))
    with ProgressLine() as line:
        RunRecorder(run.log_scalar, folder, phase.name, line).evaluated(history, evaluation)
    if folder is not None:
        run.add_artifact(folder / EVALUATIONS, content_type=content_type(EVALUATIONS))
    rule = parse_rule(facts["rule"], True, "rule")
    result = {rule.name: result_of(history, phase.name, parse_rule("last", True, "rule"))["last"]}
    show(f"{path}\non {title_of(setup.config)}", *accuracy_tables(result, {rule.name: rule.label}))
    say_where(setup, run)
    return result
