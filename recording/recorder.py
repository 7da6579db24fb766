"""Record evaluations during training: scalars in Sacred, and all group counts in evaluations.jsonl."""

import json
from collections.abc import Callable
from math import isnan
from pathlib import Path

from debiaslab.core.errors import UserError
from debiaslab.evaluation.history import EVALUATIONS, Evaluation, History
from debiaslab.recording.progress import ProgressLine

SHOWN = ("unbiased", "aligned", "conflicting", "accuracy")  # metrics in a line of a log


class RunRecorder:
    """Observer of the training loop. Scalars are passed to `log_scalar(name, value, step)`, counts written to `folder`.

    Names: `<split>/<metric>` for the method's prediction, `<split>/<branch>/<metric>` for the other branches,
    `loss/...` for the losses, `diagnostics/...` for sample diagnostics; all with the prefix `<phase>/` except in the
    last phase. The first line of evaluations.jsonl has the group sizes, each other line
    one evaluation with its correct counts.
    """

    def __init__(
        self,
        log_scalar: Callable[[str, float, int], object],
        folder: Path | None,
        last_phase: str,
        progress: ProgressLine,
    ) -> None:
        self.log_scalar, self.folder, self.last_phase, self.line = log_scalar, folder, last_phase, progress

    def progress(self, phase: str, step: int, num_steps: int) -> None:
        self.line.update(phase, step, num_steps)

    def evaluated(self, history: History, evaluation: Evaluation) -> None:
        for name, value in scalars(history, evaluation, self.last_phase).items():
            if not isnan(value):
                self.log_scalar(name, value, evaluation.step)
        if self.folder is not None:
            self._append(history, evaluation)
        split = "valid" if "valid" in evaluation.correct else "test"
        metrics = history.counts(evaluation, split).metrics()
        metric = "accuracy" if isnan(metrics["unbiased"]) else "unbiased"
        self.line.note(f"{split} {metric} {100 * metrics[metric]:.1f} %")
        if self.line.place[:2] == (evaluation.phase, evaluation.phase_step):  # not one of a run that is resumed
            shown = [f"{name} {100 * metrics[name]:.1f}" for name in SHOWN if not isnan(metrics[name])]
            losses = "".join(f", {name} {loss:.4g}" for name, loss in evaluation.losses.items())
            place = f"{evaluation.phase} epoch {evaluation.epoch}, step {evaluation.phase_step:,}"
            self.line.log(f"{place} of {self.line.place[2]:,}{losses}; {split} {', '.join(shown)} %")

    def _append(self, history: History, evaluation: Evaluation) -> None:
        assert self.folder is not None
        path = self.folder / EVALUATIONS
        lines = [evaluation.as_dict()]
        if evaluation is history.evaluations[0]:
            lines.insert(0, {name: value for name, value in vars(history).items() if name != "evaluations"})
        try:
            with path.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            fix = f"free the disk, then resume with resume={self.folder}"
            raise UserError(f"cannot write {path}: {error.strerror}; {fix}") from None


def scalars(history: History, evaluation: Evaluation, last_phase: str) -> dict[str, float]:
    """The named scalars of one evaluation: accuracies in [0, 1], mean losses since the previous evaluation,
    diagnostics."""
    phase = "" if evaluation.phase == last_phase else f"{evaluation.phase}/"
    values = {f"{phase}{name if name == 'loss' else f'loss/{name}'}": loss for name, loss in evaluation.losses.items()}
    values |= {f"{phase}diagnostics/{name}": value for name, value in evaluation.diagnostics.items()}
    for split, branches in history.metrics(evaluation).items():
        prediction = next(iter(branches))
        for branch, metrics in branches.items():
            prefix = f"{phase}{split}/" if branch == prediction else f"{phase}{split}/{branch}/"
            values |= {prefix + metric: value for metric, value in metrics.items()}
    return values
