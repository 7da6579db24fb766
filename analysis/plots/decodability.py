"""How well target and bias can be decoded from the features of each branch, over training."""

from collections.abc import Mapping, Sequence

import pandas

from debiaslab.analysis.plots.curves import lines_figure, melt_metrics, of_phase, phase_name
from debiaslab.analysis.plots.figure import NamedFigure
from debiaslab.analysis.plots.run_groups import RunGroup, file_name, frame_of_groups, selection_notes
from debiaslab.analysis.records import Record
from debiaslab.core.errors import UserError
from debiaslab.evaluation.decodability import PREFIX

LABELS = ("target", "bias")


def decodability(
    cells: Mapping[str, Sequence[RunGroup]], phase: str | None, band: str, columns: int
) -> list[NamedFigure]:
    """A figure for each data set on which it was measured. `phase` None: the last one of each method.

    Raises `UserError` if it was measured in no run.
    """
    pictures = []
    for data, members in cells.items():
        frame = of_phase(frame_of_groups(members, decodability_frame), phase)
        known = {label: f"{label} (%)" for label in LABELS if label in frame and frame[label].notna().any()}
        if frame.empty or not known:
            continue
        measured = [cell for cell in members if cell.row in set(frame["row"])]
        chance = {known[label]: 100 / frame[f"{label} classes"].max() for label in known}
        title = [f"Accuracy of linear probes on the features in {phase_name(phase)}: {data}"]
        note = "accuracy on test images, all groups weighted equally"
        titles = [*title, note, *selection_notes(measured)]
        figure = lines_figure(melt_metrics(frame, known), titles, band, columns, chance)
        pictures.append(NamedFigure(file_name("decodability", data, phase or ""), figure))
    if not pictures:
        where = f" in a phase {phase!r}" if phase else ""
        raise UserError(f"no run has measured it{where}: start runs with decodability=1 (every epoch) or more")
    return pictures


def decodability_frame(records: Sequence[Record]) -> pandas.DataFrame:
    """A row for each run, evaluation and branch that was measured: accuracies of the probes for `target` and `bias` in
    [0, 1], and how many classes of each there are."""
    rows = []
    for record in records:
        history = record.history()
        sizes = len(history.total["test"]), len(history.total["test"][0])
        for evaluation in history.evaluations:
            place = {"phase": evaluation.phase, "epoch": evaluation.epoch, "step": evaluation.step}
            facts = {"id": record.id, "seed": record.config["seed"]} | place
            for position, branch in enumerate(evaluation.correct["test"]):
                values = {label: evaluation.diagnostics.get(f"{PREFIX}/{label}/{branch}") for label in LABELS}
                if any(value is not None for value in values.values()):
                    classes = {"target classes": sizes[0], "bias classes": sizes[1]}
                    rows.append(facts | {"branch": branch, "is_prediction": position == 0} | values | classes)
    return pandas.DataFrame(rows)
